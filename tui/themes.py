"""The colours: dark, light, and one whose states differ in lightness and along blue-orange, for colour-blind eyes."""

from textual.theme import Theme

DARK = Theme(
    name="isoplan-dark",
    primary="#86ACFF",
    secondary="#5B8DEF",
    accent="#F2C261",
    warning="#F2A65A",
    error="#FF8F86",
    success="#73D396",
    foreground="#E8EAEE",
    background="#14171B",
    surface="#1B1F25",
    panel="#272D36",
    dark=True,
)

LIGHT = Theme(
    name="isoplan-light",
    primary="#2456C8",
    secondary="#2456C8",
    accent="#8F5B00",
    warning="#B4541A",
    error="#B3261E",
    success="#19733D",
    foreground="#1C1F24",
    background="#FBFBFA",
    surface="#FFFFFF",
    panel="#E7EAEE",
    dark=False,
)

COLOUR_BLIND = Theme(
    name="isoplan-colour-blind",
    # Okabe and Ito's palette (2008), which keeps apart for all common forms of colour blindness.
    primary="#56B4E9",
    secondary="#0072B2",
    accent="#F0E442",
    warning="#E69F00",
    error="#D55E00",
    success="#56B4E9",
    foreground="#F2F2F2",
    background="#101418",
    surface="#161B21",
    panel="#232A32",
    dark=True,
)

THEMES = (DARK, LIGHT, COLOUR_BLIND)
