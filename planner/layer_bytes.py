"""What a layer of this library's own training keeps for its backward pass, by what can be computed again."""

from dataclasses import dataclass

import numpy as np

from planner.workload import Numbers, Workload


@dataclass(frozen=True, slots=True)
class LayerBytes:
    """Bytes of one layer and micro-batch: one copy of the stream, and what each half keeps, its stream included."""

    stream: Numbers
    attention: Numbers
    feed_forward: Numbers

    def kept(self, work: Workload) -> Numbers:
        """All of it, or without the feed-forward's, or its input alone, as the layout computes again."""
        again = work.layout.recomputed
        some = np.where(again < 1, self.attention + self.stream, self.stream)
        return np.where(again > 0, some, self.attention + self.feed_forward)

    def again(self, work: Workload) -> Numbers:
        """What the backward pass computes again."""
        return self.attention + self.feed_forward - self.kept(work)
