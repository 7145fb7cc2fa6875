from collections import Counter

import pytest

from nnclip.drawing.catalogue import COLOURS, SHAPES, Shape, Thing, Worker, workers
from nnclip.drawing.contents import GROUP, MIXTURE, Recipe
from nnclip.drawing.scene import compose
from nnclip.drawing.splits import (
    HELD_OUT,
    held_out,
    is_held_out_pair,
    is_held_out_scene,
    is_held_out_shape,
    is_held_out_worker,
)
from nnclip.errors import ConfigError


def seen(count=20_000):
    return [compose("train", 0, index) for index in range(count)]


def test_training_never_shows_what_is_held_out():
    for scene in seen():
        drawables = [item.what for item in scene.items]
        things = [it.key for it in drawables if isinstance(it, Thing)]
        assert not any(is_held_out_scene(key, scene.background) for key in things)
        assert len(things) < 2 or not is_held_out_pair(*things)
        assert not any(isinstance(it, Worker) and is_held_out_worker(it) for it in drawables)
        assert not any(isinstance(it, Shape) and is_held_out_shape(it) for it in drawables)


def test_half_of_the_groups_are_alike_but_for_what_can_be_named():
    scenes = seen(8000)
    groups = [scenes[at : at + GROUP] for at in range(0, len(scenes), GROUP)]
    alike = [g for g in groups if len({(s.background, s.kind) for s in g}) == 1]
    assert 0.45 < len(alike) / len(groups) < 0.55
    assert {group[0].kind for group in alike} == set(MIXTURE)
    for group in alike:
        contents = [tuple(sorted(item.what.key for item in scene.items)) for scene in group]
        assert len(set(contents)) == GROUP  # no caption fits two of them
        first = [scene.items[0].what for scene in group]
        shared = {
            "scene": lambda it: it.category,
            "worker": lambda it: it.work,
            "shape": lambda it: it.colour,
        }.get(group[0].kind)
        other = {"worker": lambda it: it.tone, "shape": lambda it: it.shape}.get(group[0].kind)
        if shared:
            assert 1 in (len({get(it) for it in first}) for get in (shared, other) if get)


def test_a_recipe_says_what_is_drawn_and_how_much_is_alike():
    recipe = Recipe({"shape": 3, "pair": 1}, alike=1)
    scenes = [compose("train", 0, index, recipe) for index in range(4000)]
    assert 0.7 < sum(scene.kind == "shape" for scene in scenes) / len(scenes) < 0.8
    groups = [scenes[at : at + GROUP] for at in range(0, len(scenes), GROUP)]
    assert all(len({(s.background, s.kind) for s in group}) == 1 for group in groups)
    assert compose("heldout", 0, 7, recipe) == compose("heldout", 0, 7)


@pytest.mark.parametrize("shares", [{"cat": 1}, {"pair": -1}, {"pair": 0}, {"pair": float("nan")}])
def test_a_recipe_refuses_what_cannot_be_mixed(shares):
    with pytest.raises(ConfigError, match=r"cat.*scene|expected 0 and more"):
        Recipe(shares)


def test_every_part_of_what_is_held_out_is_seen_in_training():
    scenes = seen()
    shapes = [item.what for scene in scenes for item in scene.items if item.glyph == ""]
    assert {shape.colour for shape in shapes} == {*COLOURS, ""}
    assert {shape.shape for shape in shapes} == {*SHAPES, ""}
    assert all(shape.key for shape in shapes)
    people = {item.what for s in scenes if s.kind == "worker" for item in s.items}
    assert {(it.work, it.glyph[0]) for it in people} == {(it.work, it.glyph[0]) for it in workers()}
    assert {it.tone for it in people} == set(range(6))
    backgrounds = Counter(scene.background for scene in scenes)
    assert len(backgrounds) == 26 and min(backgrounds.values()) > 400


def test_held_out_shapes_spread_over_colours_and_shapes():
    combinations = [combination.drawables[0] for combination in held_out("heldout-shapes")]
    assert len(combinations) == 25
    for attribute, most in (("colour", 3), ("shape", 3)):
        counts = Counter(getattr(shape, attribute) for shape in combinations)
        assert len(counts) == 11 and max(counts.values()) <= most


def test_a_profession_is_held_out_in_a_tone_as_man_and_as_woman():
    pairs = Counter((it.work, it.tone) for it in workers() if is_held_out_worker(it))
    assert len(pairs) == 19 and set(pairs.values()) == {2}


@pytest.mark.parametrize("split", ["heldout", *HELD_OUT])
def test_held_out_pictures_show_only_what_is_held_out_and_never_twice(split):
    scenes = [compose(split, 3, index) for index in range(500)]
    contents = set()
    for scene in scenes:
        first, *rest = (item.what for item in scene.items)
        checks = {
            "scene": lambda it, _, where: is_held_out_scene(it.key, where.background),
            "worker": lambda it, _, where: is_held_out_worker(it),
            "pair": lambda it, rest, where: is_held_out_pair(it.key, rest[0].key),
            "shape": lambda it, _, where: is_held_out_shape(it),
        }
        assert checks[scene.kind](first, rest, scene)
        contents.add((first.key, *(it.key for it in rest), scene.background if not rest else ""))
    assert len(contents) == 500


def test_held_out_combinations_do_not_depend_on_the_seed():
    for index in range(40):
        one, two = compose("heldout", 0, index), compose("heldout", 1, index)
        assert [it.what for it in one.items] == [it.what for it in two.items]
        assert one.background == two.background or one.kind == "pair"
        assert one.items != two.items  # but placed anew


def test_an_unknown_split_is_named():
    with pytest.raises(ConfigError, match=r"'test'.*heldout-pairs"):
        compose("test", 0, 0)
