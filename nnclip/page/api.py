"""What programs can ask the page: three functions, and the tab that explains them."""

from collections.abc import Sequence

import gradio as gr

from nnclip.page.events import File, image_files
from nnclip.service import answers, values
from nnclip.service.embedded import AnyCollection
from nnclip.service.model_pool import ModelPool

K = 12  # hits
_GUIDE = """
## Ask from a program

`pip install gradio_client`, then, for a page at this address:

```python
from gradio_client import Client, handle_file

client = Client("{url}")
answer = client.predict(
    handle_file("{image}"),
    "a seal\\na horse\\na blue star",  # categories, one per line
    "{{}}",  # template: where the category goes
    "",  # model: "" is the first, here {model!r}
    api_name="/classify",
)
print(answer["best"], answer["probabilities"])
```

| function | asked with | answers |
|---|---|---|
| `/classify` | image, categories, template, model | `best`, `probabilities` of every category, `seconds` |
| `/search` | text, k, images, model | a list of `image`, `score` |
| `/models` | nothing | the `models` and `images` there are |

Files are uploaded, never fetched. What cannot be answered raises `gradio_client.exceptions.AppError`
with a sentence that says why. The names of before (`picture`, `pictures`, `amount`) hold for one more
release. To show the page inside another one:

```html
<iframe src="{url}" width="100%" height="900"></iframe>
```
"""  # noqa: E501


def api_tab(pool: ModelPool, collections: Sequence[AnyCollection], url: str) -> None:
    """Draw the tab, and offer the functions."""
    gr.Markdown(
        _GUIDE.format(url=url, image="assets/example.jpg", model=pool.names[0]),
        elem_classes="prose-page",
    )
    by_name = {c.name: c for c in collections}

    def classify(
        image: File | None = None,
        categories: str = "",
        template: str = "{}",
        model: str = "",
        picture: File | None = None,
    ) -> dict:
        """Tell how well each category fits an image."""
        images = image_files(image or picture, None)
        answer = answers.classify(pool.get(model), images, categories, template)
        chances = dict(zip(answer.categories, map(float, answer.probabilities[0]), strict=True))
        best = max(chances, key=chances.__getitem__)
        return {"best": best, "probabilities": chances, "seconds": answer.seconds}

    def search(
        text: str = "",
        k: float = K,
        images: str = "",
        model: str = "",
        pictures: str = "",
        amount: float = 0,
    ) -> list[dict]:
        """Find the images of a collection that fit a text best."""
        collection = answers.named(by_name, images or pictures)
        hits = answers.search(pool.get(model), collection, text, values.count(amount or k, "k"))
        return [{"image": hit.name, "score": hit.score, "picture": hit.name} for hit in hits]

    def models() -> dict:
        """List what the other functions can be asked for."""
        names = list(by_name)
        return {"models": list(pool.names), "images": names, "pictures": names}

    with gr.Row(visible=False):  # these parts only say what the functions take
        image, picture = (gr.Image(type="filepath", label=label) for label in ("image", "picture"))
        categories = gr.Textbox("", label="categories")
        template = gr.Textbox("{}", label="template")
        model = gr.Textbox("", label="model")
        text = gr.Textbox("", label="text")
        k, amount = gr.Number(K, label="k"), gr.Number(0, label="amount")
        images, pictures = (gr.Textbox("", label=label) for label in ("images", "pictures"))
        answer = gr.JSON(label="answer")
        ask = gr.Button()
    # names of before stand last, so that values without names mean what they did
    for function, inputs in (
        (classify, [image, categories, template, model, picture]),
        (search, [text, k, images, model, pictures, amount]),
        (models, []),
    ):
        ask.click(function, inputs, answer, api_name=function.__name__, preprocess=False)
