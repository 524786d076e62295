"""Test-time training on a network that is not ours: options, guards, no trace left, refusals."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmearth.benchmark.methods.products import PRODUCTS
from mmearth.benchmark.methods.steps import choose_steps
from mmearth.benchmark.methods.subsets import choose
from mmearth.benchmark.methods.ttt_mmr import TTTMMR
from mmearth.catalog.errors import ConfigError


class Shared(nn.Module):
    """A layer called twice, one never, batch statistics, dropout, a frozen layer, tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.twice = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.idle = nn.Linear(2, 2)
        self.frozen = nn.Linear(8, 8).requires_grad_(requires_grad=False)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.frozen.weight

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.norm(self.first(x))
        hidden = self.twice(torch.tanh(self.twice(hidden)))
        hidden = self.drop(self.tied(torch.relu(self.frozen(hidden))))
        return hidden[:, :4], hidden[:, 4:]


class Head(nn.Module):
    """Two embeddings → two modalities."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, embedding: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"a": self.a(embedding[0]), "b": self.b(embedding[1])}


def losses(outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: (out - batch[name]).square().mean(1) for name, out in outputs.items()}


def make(**options: Any) -> TTTMMR:
    torch.manual_seed(5)
    encoder, head = Shared().double(), Head().double()
    options = {"lr": 0.05, "steps": 3, "inputs": lambda batch: batch["x"]} | options
    return TTTMMR(encoder, head, losses, **options)


def batch(absent: str = "") -> dict[str, Tensor]:
    torch.manual_seed(6)
    made = {"x": torch.randn(5, 6), "a": torch.randn(5, 3), "b": torch.randn(5, 2)}
    if absent:
        made[absent][:] = torch.nan
    return {name: value.double() for name, value in made.items()}


def answer(embedding: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat(embedding, 1)


def by_hand(method: TTTMMR, given: dict[str, Tensor], names: tuple[str, ...]) -> Tensor:
    """Return the answer after the steps, on a copy, along the plain gradients."""
    encoder = copy.deepcopy(method.encoder).eval().requires_grad_()
    parameters = list(encoder.parameters())
    for _ in range(method.steps):
        found = losses(method.reconstruction_head(encoder(given["x"])), given)
        total = [torch.zeros_like(each) for each in parameters]
        for name in names:
            parts = torch.autograd.grad(
                found[name].mean(),
                parameters,
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            norm = torch.cat([part.flatten() for part in parts]).norm()
            total = [
                so_far + part / (norm + 1e-6) for so_far, part in zip(total, parts, strict=True)
            ]
        with torch.no_grad():
            for parameter, part in zip(parameters, total, strict=True):
                parameter.sub_(method.lr * part / len(names))
    return answer(encoder(given["x"])).detach()


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("skip_absent", [True, False])
def test_layers_called_twice_are_exact(products: str, skip_absent: bool) -> None:
    method = make(products=products, skip_absent=skip_absent)
    given = batch()
    found = method.adapt(given, answer)
    expected = by_hand(method, given, ("a", "b"))
    assert float((found.prediction - expected).norm() / expected.norm()) <= 1e-12
    assert not torch.allclose(found.predictions[0], expected, rtol=1e-3)


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("skip_absent", [True, False])
def test_a_modality_that_is_absent_counts_for_nothing(products: str, skip_absent: bool) -> None:
    method = make(products=products, skip_absent=skip_absent)
    given = batch(absent="b")
    found = method.adapt(given, answer)
    expected = by_hand(method, given, ("a",))
    assert float((found.prediction - expected).norm() / expected.norm()) <= 1e-12
    assert found.losses["b"].isnan().all() and not found.losses["a"].isnan().any()


@pytest.mark.parametrize("skip_absent", [True, False])
def test_a_batch_of_nothing_is_not_adapted_to(skip_absent: bool) -> None:
    given = batch(absent="a") | {"b": batch(absent="b")["b"]}
    found = make(skip_absent=skip_absent).adapt(given, answer)
    assert torch.equal(found.prediction, found.predictions[0])
    assert found.moved.eq(0).all()


def _state(method: TTTMMR) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in (method.encoder, method.reconstruction_head):
        assert isinstance(part, nn.Module)
        for name, layer in part.named_modules():
            found[f"{type(part).__name__}.{name}.training"] = layer.training
        for name, value in (*part.named_parameters(), *part.named_buffers()):
            found[f"{type(part).__name__}.{name}"] = value.detach().clone()
            found[f"{type(part).__name__}.{name}.wanted"] = value.requires_grad
            found[f"{type(part).__name__}.{name}.pointer"] = value.data_ptr()
            found[f"{type(part).__name__}.{name}.grad"] = value.grad
    return found


def _same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = (
            torch.equal(value, after[name]) if isinstance(value, Tensor) else value == after[name]
        )
        assert same, name


@pytest.mark.parametrize("parameters", ["all", "norm", "last:2"])
def test_every_bit_of_the_modules_comes_back(parameters: str) -> None:
    method = make(parameters=parameters)
    method.encoder.train()
    for parameter in method.encoder.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    before = _state(method)
    found = method.adapt(batch(), answer)
    assert float(found.moved[-1]) > 0
    _same(before, _state(method))


def test_every_bit_comes_back_after_an_error() -> None:
    method, calls = make(), []

    def predict(embedding: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("the third")

    before = _state(method)
    with pytest.raises(RuntimeError, match="the third"):
        method.adapt(batch(), predict)
    _same(before, _state(method))


def test_iterations_share_one_forward_pass_and_the_last_has_no_gradient() -> None:
    method, with_gradient = make(steps=4), []
    method.encoder.register_forward_hook(lambda *_: with_gradient.append(torch.is_grad_enabled()))
    found = method.adapt(batch(), answer)
    assert with_gradient == [True] * 4 + [False]
    assert len(found.predictions) == 5
    with torch.no_grad():
        unadapted = answer(method.encoder.eval()(batch()["x"]))
    assert torch.equal(found.predictions[0], unadapted)


def test_a_step_is_no_longer_than_the_rate() -> None:
    found = make(lr=0.01, steps=4).adapt(batch(), answer)
    assert found.moved.tolist()[0] == 0
    for i, moved in enumerate(found.moved.tolist()):
        assert moved <= 0.01 * i + 1e-12


def test_the_norm_is_that_of_the_parameters_that_are_adapted() -> None:
    method = make(steps=2)
    own = [p.detach().double().flatten() for p in method.encoder.parameters()]
    assert float(method.adapt(batch(), answer).norm) == pytest.approx(float(torch.cat(own).norm()))


def test_what_is_held_back_is_not_adapted_to_and_chooses() -> None:
    method = make(held_back=("b",), steps=6, lr=0.3)
    found = method.adapt(batch(), answer)
    assert torch.equal(found.watched, found.losses["b"])
    assert found.chosen == int(found.losses["b"].argmin())
    only_a = make(lr=0.3, steps=6).adapt(batch(absent="b"), answer)
    assert torch.allclose(found.predictions[6], only_a.predictions[6], rtol=1e-12)
    nothing_to_watch = make(held_back=("b",)).adapt(batch(absent="b"), answer)
    assert nothing_to_watch.chosen == 0


def test_a_rising_loss_rolls_back() -> None:
    wild = make(lr=50.0).adapt(batch(), answer)
    assert wild.chosen == 3 and wild.watched[1] > wild.watched[0]
    guarded = make(lr=50.0, roll_back=True).adapt(batch(), answer)
    assert guarded.chosen == 0
    assert torch.equal(guarded.prediction, wild.predictions[0])
    assert len(guarded.predictions) == 4 and guarded.watched.eq(guarded.watched[0]).all()
    calm = make(lr=1e-4, roll_back=True).adapt(batch(), answer)
    assert calm.chosen == 3 and calm.watched.diff().lt(0).all()


def test_agreement_is_the_cosine_of_a_step_and_of_the_gradient() -> None:
    method, given = make(steps=1, lr=1e-3), batch()

    def task(embedding: Any) -> Tensor:
        return answer(embedding).square().sum()

    parameters = list(method.encoder.parameters())
    before = [each.detach().clone() for each in parameters]
    method.encoder.eval()
    wanted = [each.requires_grad for each in parameters]
    for each in parameters:
        each.requires_grad_()
    loss = task(method.encoder(given["x"]))
    found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    gradient = torch.cat([each.flatten() for each in found])
    for each, was in zip(parameters, wanted, strict=True):
        each.requires_grad_(was)
    moved: list[Tensor] = []

    def spy(embedding: Any) -> None:
        now = zip(before, parameters, strict=True)
        moved.append(torch.cat([(then - each).flatten() for then, each in now]))

    method.adapt(given, spy)
    expected = torch.dot(moved[1], gradient) / (moved[1].norm() * gradient.norm())
    kept = _state(method)
    assert method.agreement(given, task) == pytest.approx(float(expected), rel=1e-6)
    _same(kept, _state(method))
    assert math.isnan(method.agreement(given, lambda embedding: 0 * task(embedding)))


def test_parameters_are_chosen() -> None:
    encoder = Shared()
    names = {id(each): name for name, each in encoder.named_parameters(remove_duplicate=False)}

    def named(parameters: Any) -> list[str]:
        return [names[id(each)] for each in choose(encoder, parameters)]

    assert named("norm") == ["norm.weight", "norm.bias"]
    assert named("last:1") == ["tied.weight", "tied.bias"]
    assert named(lambda name, each: name.startswith("first.")) == ["first.weight", "first.bias"]
    assert len(named("all")) == len(list(encoder.parameters()))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"lr": 0.0}, "found lr 0.0; expected a finite number above 0"),
        ({"lr": float("inf")}, "found lr inf"),
        ({"lr": float("nan")}, "found lr nan"),
        ({"lr": "0.1"}, "found lr '0.1'"),
        ({"steps": -1}, "found steps -1; expected a whole number, 0 or more"),
        ({"steps": 2.5}, "found steps 2.5"),
        ({"products": "quick"}, "expected one of stream, batched, auto"),
        ({"parameters": "last"}, "expected all, norm, last:"),
        ({"parameters": lambda *_: False}, "nothing would be adapted"),
        ({"held_back": ("c",)}, "c is to be held back and has no loss"),
        ({"held_back": ("a", "b")}, "hold back fewer"),
        ({"parameters": lambda name, _: name.startswith("idle.")}, "does not depend on the chosen"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make(**options).adapt(batch(), answer)


def test_a_compiled_encoder_is_adapted_to_in_a_stream_alone() -> None:
    method = make(steps=1)
    compiled = torch.compile(method.encoder, backend="aot_eager")
    parts = method.reconstruction_head, method.losses
    with pytest.raises(ConfigError, match=r'torch\.compile; say products="stream"'):
        TTTMMR(compiled, *parts, inputs=method.inputs, products="batched").adapt(batch(), answer)
    found = TTTMMR(compiled, *parts, inputs=method.inputs).adapt(batch(), answer)
    assert bool(found.moved[1] > 0)


class TwoScales(nn.Module):
    """Of its two embeddings the first comes from before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(6, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = torch.tanh(self.low(x))
        return {"low": low, "high": self.high(low)}


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("parameters", ["last:1", lambda name, _: name.startswith("high")])
def test_the_last_layer_of_several_embeddings(products: str, parameters: Any) -> None:
    torch.manual_seed(2)
    encoder, head = TwoScales().double(), Head().double()
    named = {name: each.detach().clone() for name, each in encoder.named_parameters()}

    def reconstruct(embedding: dict[str, Tensor]) -> dict[str, Tensor]:
        return head((embedding["low"] + embedding["high"], embedding["high"]))

    method = TTTMMR(
        encoder, reconstruct, losses, 0.05, 1, parameters, products, lambda given: given["x"]
    )
    given = batch()
    found = method.adapt(given, lambda embedding: embedding["high"])
    parts = losses(reconstruct(encoder(given["x"])), given)
    own = list(encoder.high.parameters())
    step = [torch.zeros_like(each) for each in own]
    for name in ("a", "b"):
        gradient = torch.autograd.grad(parts[name].mean(), own, retain_graph=True)
        length = torch.cat([each.flatten() for each in gradient]).norm() + 1e-6
        step = [so_far + each / length for so_far, each in zip(step, gradient, strict=True)]
    weight, bias = (p.detach() - 0.05 * s / 2 for p, s in zip(own, step, strict=True))
    expected = encoder(given["x"])["low"].detach() @ weight.T + bias
    assert torch.allclose(found.prediction, expected, rtol=1e-12)
    assert all(torch.equal(named[name], each) for name, each in encoder.named_parameters())


def divided(outputs: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """As `losses`, but that of b is 0 / 0 in one tile: its gradient alone shows it."""
    found = losses(outputs, given)
    zero = (outputs["b"] - outputs["b"]).sum(1) * torch.tensor([0.0, 0, 0, 0, 1])
    found["b"] = torch.where(torch.arange(5) == 4, zero / zero, found["b"])
    return found


@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("roll_back", [True, False])
def test_a_gradient_that_is_no_number_is_named(products: str, roll_back: bool) -> None:
    method = make(products=products, roll_back=roll_back)
    spoilt = replace(method, losses=divided)
    before = _state(method)
    with pytest.raises(ConfigError, match=r"the gradient of b is no number in step 1"):
        spoilt.adapt(batch(), answer)
    _same(before, _state(method))
    left_out = replace(spoilt, only_finite=True, roll_back=False).adapt(batch(), answer)
    expected = by_hand(method, batch(), ("a",))
    assert float((left_out.prediction - expected).norm() / expected.norm()) <= 1e-12


def test_parts_that_are_something_else_are_refused() -> None:
    method = make()
    listed = replace(method, losses=lambda *_: [torch.zeros(())])
    with pytest.raises(ConfigError, match="came as list; expected a dict of a loss by modality"):
        listed.adapt(batch(), answer)
    with pytest.raises(ConfigError, match=r"encoder that is function; expected a torch.nn.Module"):
        replace(method, encoder=lambda x: x)


def test_inference_mode_is_refused() -> None:
    with torch.inference_mode(), pytest.raises(ConfigError, match="inference mode"):
        make().adapt(batch(), answer)


def test_a_loss_that_is_cut_off_is_refused() -> None:
    method = make()
    cut = TTTMMR(
        method.encoder,
        lambda embedding: {"a": embedding[0].detach()[:, :3]},
        lambda outputs, given: losses(outputs, {"a": given["a"]}),
        inputs=method.inputs,
    )
    with pytest.raises(ConfigError, match="does not depend on the embedding"):
        cut.adapt(batch(), answer)


def test_an_embedding_of_something_else_is_refused() -> None:
    class Text(nn.Linear):
        def forward(self, x: Tensor) -> Any:
            return {"tokens": super().forward(x), "name": "text"}

    method = TTTMMR(Text(6, 2).double(), lambda e: e, losses, inputs=lambda given: given["x"])
    with pytest.raises(ConfigError, match="expected a tensor, or a list, tuple or dict"):
        method.adapt(batch(), answer)


def test_published_k_is_the_mean_of_what_suits_each_batch() -> None:
    table = [[0, 3, 2, 1], [5, 1, 2, 3], [torch.nan, 1, 2, 3], [9, 3, 2, 1]]
    assert choose_steps(table, rule="published") == round((3 + 1 + 3) / 3)
    assert choose_steps(table, zero=True, rule="published") == round((0 + 1 + 3) / 3)


def test_k_is_the_best_of_all_batches_together() -> None:
    table = [[0, 3, 2.9, 1], [5, 1, 2, 9], [torch.nan, 0, 0, 0], [9, 3, 2, 1]]
    assert choose_steps(table) == 2  # sums 14, 7, 6.9, 11; the published 2 is best for no batch
    assert choose_steps([[1.0, 5.0, 2.0], [4.0, 5.0, 9.0]], zero=True) == 0
    assert choose_steps([[0.0, 1.0], [0.0, 1.0]]) == 1  # 0 is no candidate as published
    for wrong in ([[torch.nan, 1.0]], [[1.0]], [1.0, 2.0]):
        with pytest.raises(ConfigError):
            choose_steps(wrong)
