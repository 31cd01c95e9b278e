"""A Gradio page that shows the class of a photograph and where the model looked.

Set MODEL to a run folder or to a model of the hub, e.g. `hf-hub:ORGANISATION/NAME`.
"""

from __future__ import annotations

import os

from PIL import Image

import rsam_app as rsam


def classify(model: rsam.TrainedModel, picture: Image.Image) -> tuple[Image.Image, dict[str, float]]:
    """The picture with the rectangle drawn, and the five most probable classes."""
    answer = model.predict(picture)
    return answer.draw(picture), dict(answer.top)


def main() -> None:
    """Serve the page; a photograph starts the classification."""
    import gradio

    model = rsam.load(os.environ["MODEL"])
    page = gradio.Interface(
        lambda picture: classify(model, picture),
        gradio.Image(type="pil", label="Photograph"),
        [gradio.Image(label="Where the model looked"), gradio.Label(num_top_classes=5, label="Class")],
        title="What is it, and where did the model look?",
        flagging_mode="never",
    )
    page.launch()


if __name__ == "__main__":
    main()
