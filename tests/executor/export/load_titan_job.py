"""Load an exported job with torchtitan's own configuration and print what it made of it. Run where torchtitan is."""

import json
import sys
from pathlib import Path

from safetensors.torch import load_file
from torchtitan.config.manager import ConfigManager


def main(folder: Path) -> None:
    config = ConfigManager().parse_args(["--module", "isoplan_job", "--config", "job"])
    spec = config.model_spec
    model = spec.model.build()
    adapter = spec.state_dict_adapter(spec.model, str(folder / "weights"))
    weights = adapter.from_hf(load_file(folder / "weights" / "model.safetensors"))
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    optimisers = config.optimizer.build(model_parts=[model])
    scheduler = config.lr_scheduler.build(optimizers=optimisers, training_steps=config.training.steps)
    rates = []
    for _ in range(config.training.steps):
        rates.append(scheduler.schedulers[0].get_last_lr()[0])
        optimisers.step()
        scheduler.step()
    loaders = [
        config.dataloader.build(
            dp_world_size=2, dp_rank=rank, tokenizer=None, seq_len=config.training.seq_len, local_batch_size=2
        )
        for rank in range(2)
    ]
    batches = [next(iter(loader)) for _ in range(2) for loader in loaders]
    found = {
        "steps": config.training.steps,
        "global_batch": config.training.global_batch_size,
        "shard": config.parallelism.data_parallel_shard_degree,
        "interval": config.checkpoint.interval,
        "has_all_weights": own == {name: tuple(tensor.shape) for name, tensor in weights.items()},
        "query": weights["layers.0.attention.qkv_linear.wq.weight"].tolist(),
        "decays": sorted({group["weight_decay"] for one in optimisers.optimizers for group in one.param_groups}),
        "rates": rates,
        "inputs": [batch[0]["input"].tolist() for batch in batches],
        "targets": [batch[1].tolist() for batch in batches],
        "positions": batches[0][0]["positions"].tolist(),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
