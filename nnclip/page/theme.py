"""How the page looks: colours and fonts for Gradio; style.css beside this file does the rest.

No font is fetched: the page uses what the visitor's system has.
"""

from pathlib import Path

import gradio as gr
from gradio.themes.utils.colors import Color

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
ICON = HERE / "icon.svg"

INK = Color(
    "#faf8f4", "#f3f0e9", "#e5e0d5", "#cfc8ba", "#9b9486", "#6b665c", "#514d45", "#3a3935",
    "#262a31", "#1a1e25", "#12151b", name="ink",
)  # fmt: skip
SPRUCE = Color(
    "#eef7f4", "#d6ebe4", "#afd8cb", "#7fc2ae", "#54bfa3", "#1d8570", "#0f6b5a", "#0c5648",
    "#0b4439", "#09362e", "#05211c", name="spruce",
)  # fmt: skip
SANS = ("Avenir Next", "Segoe UI Variable Text", "Segoe UI", "Noto Sans", "system-ui", "sans-serif")
MONO = ("ui-monospace", "Cascadia Code", "Menlo", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """The theme, light and dark."""
    base = gr.themes.Base(
        primary_hue=SPRUCE,
        secondary_hue=SPRUCE,
        neutral_hue=INK,
        font=SANS,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_lg,
        text_size=gr.themes.sizes.text_md,
    )
    return base.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="#ebe8e1",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="#b4b0a6",
        block_background_fill="#ffffff",
        block_background_fill_dark="*neutral_900",
        block_border_color="*neutral_200",
        block_border_color_dark="#2d333d",
        block_label_background_fill="*block_background_fill",
        block_label_background_fill_dark="*block_background_fill",
        block_label_text_color="*neutral_600",
        block_label_text_color_dark="#b4b0a6",
        block_title_text_color="*neutral_600",
        block_title_text_color_dark="#b4b0a6",
        block_title_text_weight="500",
        block_shadow="0 1px 2px rgba(40, 34, 20, .05)",
        block_shadow_dark="none",
        input_background_fill="#fffefb",
        input_background_fill_dark="*neutral_950",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="#3a414d",
        input_border_color_focus="*primary_500",
        input_placeholder_color="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_dark="#2a303a",
        button_secondary_text_color="*neutral_900",
        button_secondary_text_color_dark="#ebe8e1",
        color_accent="*primary_600",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*primary_950",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_400",
    )
