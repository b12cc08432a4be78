"""``training.compile``: runs whose model is compiled, on either line."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from mmf_bridge.common import compiling
from mmf_bridge.common.compiling import check_compiler, compile_options
from tests.bridge.runs import assert_same_end, equal, run_here, run_processes

# No code is generated, and nothing has to be compiled with a C++ compiler.
EAGER = {"training.compile": {"backend": "eager"}}
SHORT = ("run_type=train", "training.max_updates=6", "training.evaluation_interval=3")


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def compiled_graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yes", "training.compile: got 'yes', expected true, false or a section of backend, mode"),
        ({"mod": "default"}, "training.compile.mod: unknown. Did you mean mode? Its keys: backend"),
        ({"mode": "reduce-overhead"}, "training.compile.mode: got 'reduce-overhead'. Choices: def"),
        ({"backend": "inducto"}, "training.compile.backend: got 'inducto'. Did you mean inductor?"),
        ({"dynamic": "no"}, "training.compile.dynamic: got 'no', expected true or false"),
        ({"backend": "eager", "mode": "default"}, "only the backend inductor has modes"),
        ({"backend": "eager", "freezing": True}, "only the backend inductor freezes"),
        ({"freezing": True}, "training.compile.freezing: true makes the weights constants of the"),
    ],
)
def test_a_wrong_value_is_one_error(tmp_path, value, message):
    with pytest.raises(ValueError) as error:
        run_here(tmp_path / "save", changes={"training.compile": value})
    assert message in str(error.value)
    assert not (tmp_path / "save" / "current.ckpt").exists()


def test_what_it_means():
    assert compile_options(False) is None and compile_options(None) is None
    assert compile_options(True) == {}
    assert compile_options({"backend": None, "dynamic": True}) == {"dynamic": True}


def test_a_key_of_the_section_on_the_command_line(tmp_path):
    with pytest.raises(ValueError, match=r"training\.compile\.mod: unknown\. Did you mean"):
        run_here(tmp_path / "save", "training.compile.mod=default")


def test_without_a_compiler_it_is_one_error(monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(ValueError, match=r"training.compile: .*No working C\+\+ compiler.*g\+\+"):
        check_compiler({}, torch.device("cpu"))


def test_a_compiled_run_and_a_plain_one_continue_each_other(tmp_path):
    """Dropout, BatchNorm and the order of samples included, with the same names of weights."""
    plain = run_here(tmp_path / "plain", *SHORT)
    assert not compiled_graphs() and "is compiled" not in plain.log()
    for name, first, second in (("one", EAGER, None), ("other", None, EAGER)):
        folder = tmp_path / name
        half = run_here(folder, *SHORT, "training.max_updates=3", changes=first)
        assert ("(training.compile)" in half.log()) == (first is not None)
        whole = run_here(folder, *SHORT, "checkpoint.resume=true", changes=second)
        assert compiled_graphs()
        assert_same_end(whole, plain)


def test_predictions_are_compiled(tmp_path):
    plain = run_here(tmp_path / "plain", predict=True)
    compiled = run_here(tmp_path / "compiled", predict=True, changes=EAGER)
    assert compiled_graphs()
    (first,), (second,) = plain.predictions(), compiled.predictions()
    assert first.read_text() == second.read_text()


@pytest.mark.parametrize("mode", [{}, {"mode": "max-autotune-no-cudagraphs"}])
def test_frozen_weights_are_constants_of_the_graph(mode):
    """They are those of a model's first batch, whatever else was compiled, and it keeps them."""
    images = torch.randn(4, 3)
    models = [torch.nn.Linear(3, 2).eval() for _ in range(3)]
    for model, options in zip(models, ({}, {"freezing": True}, {"freezing": True}), strict=True):
        with torch.inference_mode():
            expected = model(images)
            compiling.compile_model(model, {**mode, **options})
            torch.testing.assert_close(model(images), expected)
            model.weight.zero_()
            assert torch.allclose(model(images), expected) == bool(options)
        assert list(model.state_dict()) == ["weight", "bias"]
    assert not torch._inductor.config.freezing


def test_predictions_of_frozen_weights(tmp_path):
    plain = run_here(tmp_path / "plain", predict=True)
    compiled = run_here(tmp_path / "compiled", "training.compile.freezing=true", predict=True)
    assert compiled_graphs()
    (first,), (second,) = plain.predictions(), compiled.predictions()
    assert first.read_text() == second.read_text()


def test_weights_that_are_trained_are_not_frozen(tmp_path):
    """Also where the run predicts with them in the end."""
    frozen = "training.compile.freezing=true"
    with pytest.raises(ValueError, match="run_type train_test trains them: leave it to mmf_predic"):
        run_here(tmp_path / "save", "run_type=train_test", "evaluation.predict=true", frozen)
    assert not (tmp_path / "save").exists()


def test_two_processes_accumulate_compiled(tmp_path):
    opts = (*SHORT, "training.update_frequency=2", "training.precision=bf16")
    plain = run_processes(tmp_path / "plain", *opts, processes=2)
    compiled = run_processes(tmp_path / "compiled", *opts, processes=2, changes=EAGER)
    assert plain.exit_codes == compiled.exit_codes == [0, 0]
    assert equal(plain.checkpoint()["model"], compiled.checkpoint()["model"])


def test_a_model_names_what_is_compiled():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.part = torch.nn.Linear(2, 2)

        def compiled_parts(self):
            return [self.part]

    model = Model()
    compiling.compile_model(model, {"backend": "eager"})
    assert model.part._compiled_call_impl is not None and model._compiled_call_impl is None
    assert list(model.state_dict()) == ["part.weight", "part.bias"]


@pytest.mark.parametrize("name", ["coalesce_tiling_analysis", "mix_order_reduction"])
def test_passes_that_fail_on_sizes_that_vary_are_left_out(monkeypatch, name):
    from torch._inductor.config import triton

    if not hasattr(triton, name):
        pytest.skip("this torch has no such pass")
    monkeypatch.setattr(triton, name, True)
    compiling.compile_model(torch.nn.Linear(2, 2), {})
    assert not getattr(triton, name)


@pytest.mark.parametrize(
    ("name", "value"), [("capture_dynamic_output_shape_ops", True), ("optimize_ddp", False)]
)
def test_how_graphs_are_traced(monkeypatch, name, value):
    """Masked words are part of the graph, and DDP splits none: some versions of torch do not need
    the one or the other."""
    monkeypatch.setattr(torch._dynamo.config, name, not value)
    compiling.compile_model(torch.nn.Linear(2, 2), {"backend": "eager"})
    assert getattr(torch._dynamo.config, name) is value


def test_more_sizes_than_torch_itself_compiles():
    """Which gives up after eight, and runs the rest as it is."""
    model, counter = torch.nn.Linear(2, 2), CompileCounter()
    compiling.compile_model(model, {"backend": counter, "dynamic": False})
    for rows in range(2, 12):
        model(torch.ones(rows, 2))
    assert counter.frame_count == 10
