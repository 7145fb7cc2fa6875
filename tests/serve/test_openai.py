"""OpenAI's embeddings, asked by OpenAI's package, and what infinity, vLLM and Jina add."""

import base64

import numpy as np
import pytest

from .conftest import coded, photo

TEXTS = ["a red seal", "two horses", "a blue star"]
PHOTOS = [photo(1), photo(2), photo(3, kind="PNG")]


def rows(answer):
    """(N, E) of an answer, whose order is checked."""
    content = answer.json()
    assert answer.status_code == 200, content
    assert set(content) == {"object", "data", "model", "usage"} and content["object"] == "list"
    assert [one["index"] for one in content["data"]] == list(range(len(content["data"])))
    return np.array([one["embedding"] for one in content["data"]], np.float32)


@pytest.fixture
def client(served):
    import openai

    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_openai_s_package_gets_what_the_model_says(client, expected):
    answer = client.embeddings.create(model="small", input=TEXTS)  # base64 by default
    found = np.array([one.embedding for one in answer.data], np.float32)
    np.testing.assert_allclose(found, expected(*TEXTS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert answer.model == "small" and answer.object == "list"
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5 + 4 + 5
    plain = client.embeddings.create(model="small", input=TEXTS[0], encoding_format="float")
    np.testing.assert_allclose(plain.data[0].embedding, found[0], atol=1e-7)
    images = client.embeddings.create(
        model="small", input=[coded(each) for each in PHOTOS], extra_body={"modality": "image"}
    )
    found = np.array([one.embedding for one in images.data], np.float32)
    np.testing.assert_allclose(found, expected(*PHOTOS), atol=1e-6)


def test_openai_s_package_lists_models_and_knows_errors(client):
    import openai

    assert [model.id for model in client.models.list()] == ["small", "ViT-B-32__openai"]
    found = client.models.retrieve("ViT-B-32__openai")
    assert (found.object, found.owned_by) == ("model", "nnclip") and found.created > 1e9
    with pytest.raises(openai.NotFoundError, match="small, ViT-B-32__openai") as caught:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")
    with pytest.raises(openai.BadRequestError, match="dimensions: found 8, expected 32"):
        client.embeddings.create(model="small", input="a", dimensions=8)
    assert len(client.embeddings.create(model="small", input="a", dimensions=32).data) == 1
    with pytest.raises(openai.BadRequestError, match=r"input\[0\]: found token ids"):
        client.embeddings.create(model="small", input=[[1, 2, 3]])


def test_base64_is_float32_little_endian(served, expected):
    answer = served.post("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"})
    found = [base64.b64decode(one["embedding"]) for one in answer.json()["data"]]
    array = np.stack([np.frombuffer(each, "<f4") for each in found])
    np.testing.assert_allclose(array, expected(*TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    "asked",
    [
        {"input": [coded(PHOTOS[0])], "modality": "image"},  # infinity
        {"input": coded(PHOTOS[0], ""), "modality": "image"},
        {"input": coded(PHOTOS[0])},
        {"input": [{"image": coded(PHOTOS[0], "")}]},  # Jina
        {"input": {"image": coded(PHOTOS[0])}, "embedding_type": "float"},
        {
            "messages": [  # vLLM
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": coded(PHOTOS[0])}}],
                }
            ]
        },
    ],
)
def test_an_image_is_the_same_whoever_sends_it(served, expected, asked):
    found = rows(served.post("/v1/embeddings", {"model": "small", **asked}))
    np.testing.assert_allclose(found, expected(PHOTOS[0]), atol=1e-6)


def test_texts_and_images_mix_in_their_order(served, expected):
    asked = [{"text": TEXTS[0]}, {"image": coded(PHOTOS[1])}, TEXTS[1], coded(PHOTOS[0])]
    found = rows(served.post("/embeddings", {"input": asked}))  # infinity's path
    np.testing.assert_allclose(found[[0, 2]], expected(*TEXTS[:2]), atol=1e-6)
    np.testing.assert_allclose(found[[1, 3]], expected(PHOTOS[1], PHOTOS[0]), atol=1e-6)
    message = [{"role": "user", "content": [{"type": "text", "text": TEXTS[0]}]}]
    again = rows(served.post("/v1/embeddings", {"messages": message}))
    np.testing.assert_allclose(again[0], found[0], atol=1e-6)


def test_lengths_are_left_where_somebody_asks_for_it(served, expected):
    found = rows(served.post("/v1/embeddings", {"input": TEXTS, "normalized": False}))
    model = expected.model
    np.testing.assert_allclose(found, model.encode_text(model.tokenize(TEXTS)), rtol=1e-4)


def test_long_texts_are_refused_or_cut_and_that_is_said(served):
    asked = {"input": ["short", "long " * 50]}
    refused = served.post("/v1/embeddings", asked)
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("input[1]: the text makes 52 tokens")
    cut = served.post("/v1/embeddings", {**asked, "truncate": True})
    assert len(rows(cut)) == 2 and cut.headers["x-nnclip-truncated"] == "1"


def test_fields_that_change_nothing_are_named(served):
    answer = served.post("/v1/embeddings", {"input": "a", "task": "retrieval", "user": "me"})
    assert answer.headers["x-nnclip-ignored"] == "'task'"


PNG = coded(PHOTOS[2])
WRONG = {
    "no JSON": ("{", "no JSON"),
    "a list": ("[]", "valid dictionary"),
    "nothing": ("{}", "found no input"),
    "an empty list": ('{"input": []}', "found 0 inputs"),
    "an empty text": ('{"input": " "}', "empty text"),
    "half a character": (r'{"input": "\ud800"}', "half a character"),
    "a number": ('{"input": 5}', "token ids"),
    "true": ('{"input": true}', "found true or false"),
    "no base64": ('{"input": "!!!", "modality": "image"}', "expected an image in base64"),
    "no image": ('{"input": "aGVsbG8=", "modality": "image"}', "not an image"),
    "an empty image": ('{"input": "data:image/png;base64,"}', "found an empty file"),
    "an address": ('{"input": "http://127.0.0.1/a.png", "modality": "image"}', "--allow-urls"),
    "a path": ('{"input": "file:///etc/passwd", "modality": "image"}', "--allow-urls"),
    "an object": ('{"input": [{"url": "a"}]}', "found neither"),
    "both": ('{"input": {"text": "a", "image": "b"}}', "found text and image"),
    "a format": ('{"input": "a", "encoding_format": "hex"}', "encoding_format"),
    "a text as a number": ('{"input": "a", "dimensions": "32"}', "dimensions"),
    "no message": ('{"messages": []}', "expected one message"),
    "two parts": (
        '{"messages": [{"role": "user", "content": [{"type": "text"}, {"type": "text"}]}]}',
        "expected one message",
    ),
    "input and messages": ('{"input": "a", "messages": []}', "expected one of them"),
    "too many": ('{"input": [' + '"a",' * 2048 + '"a"]}', "expected 1 to 2,048"),
    "too deep": ('{"input": ' + "[" * 100_000 + "]" * 100_000 + "}", "found"),
    "too large a number": ('{"input": "a", "dimensions": ' + "9" * 5000 + "}", "found"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_answered_is_said_in_openai_s_form(served, name):
    import httpx

    content, said = WRONG[name]
    answer = httpx.post(f"{served.url}/v1/embeddings", content=content, timeout=60)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert set(error) == {"message", "type", "param", "code"}
    assert said in error["message"] and error["type"] == "invalid_request_error"
    assert "Traceback" not in answer.text and "/root" not in answer.text


@pytest.mark.parametrize("bad", [b"no image", photo(4)[:-300], photo(4)[:100]])
def test_one_bad_image_is_named_and_others_are_answered(served, bad):
    asked = [coded(photo(seed)) for seed in range(20, 30)]
    answer = served.post("/v1/embeddings", {"input": [*asked[:7], coded(bad), *asked[7:]]})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "input[7]"
    assert len(rows(served.post("/v1/embeddings", {"input": asked}))) == 10


def test_an_image_of_one_pixel_is_an_image(served):
    assert len(rows(served.post("/v1/embeddings", {"input": coded(photo(5, (1, 1)))}))) == 1
