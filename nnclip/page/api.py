"""What programs can ask the page: three functions, and the tab that explains them."""

from collections.abc import Sequence

import gradio as gr

from nnclip.page.events import File, image_files
from nnclip.service import answers, values
from nnclip.service.embedded import AnyCollection
from nnclip.service.model_pool import ModelPool

_GUIDE = """
## Ask from a program

`pip install gradio_client`, then, for a page at this address:

```python
from gradio_client import Client, handle_file

client = Client("{url}")
answer = client.predict(
    handle_file("{picture}"),
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
| `/search` | text, amount, images, model | a list of `picture`, `score` |
| `/models` | nothing | the `models` and `pictures` there are |

Files are uploaded, never fetched. What cannot be answered raises `gradio_client.exceptions.AppError`
with a sentence that says why. To show the page inside another one:

```html
<iframe src="{url}" width="100%" height="900"></iframe>
```
"""  # noqa: E501


def api_tab(pool: ModelPool, collections: Sequence[AnyCollection], url: str) -> None:
    """Draw the tab, and offer the functions."""
    gr.Markdown(
        _GUIDE.format(url=url, picture="assets/example.jpg", model=pool.names[0]),
        elem_classes="prose-page",
    )
    by_name = {c.name: c for c in collections}

    def classify(picture: File | None, categories: str, template: str, model: str) -> dict:
        """Tell how well each category fits an image."""
        images = image_files(picture, None)
        answer = answers.classify(pool.get(model), images, categories, template)
        chances = dict(zip(answer.categories, map(float, answer.probabilities[0]), strict=True))
        best = max(chances, key=chances.__getitem__)
        return {"best": best, "probabilities": chances, "seconds": answer.seconds}

    def search(text: str, amount: float, pictures: str, model: str) -> list[dict]:
        """Find the images of a collection that fit a text best."""
        collection, k = answers.named(by_name, pictures), values.count(amount, "amount")
        hits = answers.search(pool.get(model), collection, text, k)
        return [{"picture": hit.name, "score": hit.score} for hit in hits]

    def models() -> dict:
        """List what the other functions can be asked for."""
        return {"models": list(pool.names), "pictures": list(by_name)}

    with gr.Row(visible=False):  # these parts only say what the functions take
        picture = gr.Image(type="filepath", label="picture")
        categories = gr.Textbox(label="categories")
        template = gr.Textbox("{}", label="template")
        model = gr.Textbox("", label="model")
        text = gr.Textbox(label="text")
        amount = gr.Number(12, label="amount")
        pictures = gr.Textbox("", label="pictures")
        answer = gr.JSON(label="answer")
        ask = gr.Button()
    for function, inputs in (
        (classify, [picture, categories, template, model]),
        (search, [text, amount, pictures, model]),
        (models, []),
    ):
        ask.click(function, inputs, answer, api_name=function.__name__, preprocess=False)
