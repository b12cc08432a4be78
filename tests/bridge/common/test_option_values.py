"""MMF's own keys are checked before anything is loaded, on whichever line is installed."""

import pytest

from mmf_bridge.common.option_values import check_run_type
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import run_here


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("checkpoint.resume=fales", "checkpoint.resume: got 'fales', expected true or false. Did "),
        ("training.tensorboard=2", "training.tensorboard: got 2, expected true or false"),
        ("checkpoint.reset.all=yes", "checkpoint.reset.all: got 'yes', expected true or false"),
        ("run_type=trian", "run_type: got 'trian', of which 'trian' is unknown. Did you mean trai"),
        ("run_type=train_evl", "'evl' is unknown"),
        ("run_type=", "run_type: got '', "),
        ("training.trainer=lightning", "cannot run with Lightning 2. Give training.trainer=mmf"),
        ("training.batch_size=four", "training.batch_size: got 'four', expected a whole number"),
        ("training.batch_size=2.5", "training.batch_size: got 2.5, expected a whole number"),
        ("training.batch_size=true", "training.batch_size: got True, expected a whole number"),
        ("training.batch_size=null", "training.batch_size: got None, expected a whole number"),
        ("training.leftover_batches=cary", "leftover_batches: got 'cary'. Did you mean carry? Cho"),
        ("training.update_frequency=0", "training.update_frequency: got 0, expected a number of "),
        ("training.update_frequency=2.5", "update_frequency: got 2.5, expected a whole number"),
        ("training.batch_size=0", "training.batch_size: got 0, expected a number of at least 1"),
        ("training.log_interval=0", "training.log_interval: got 0, expected a number of at le"),
        ("training.evaluation_interval=0", "training.evaluation_interval: got 0, expected"),
        (
            "training.log_interval=often",
            "log_interval: got 'often', expected a whole number or auto",
        ),
        ("training.checkpoint_interval=-5", "training.checkpoint_interval: got -5, expected"),
        ("training.max_updates=-1", "training.max_updates: got -1, expected a number of at least"),
        ("training.max_epochs=two", "training.max_epochs: got 'two', expected a whole number"),
        ("training.num_workers=-1", "training.num_workers: got -1, expected"),
        ("training.early_stop.patience=x", "training.early_stop.patience: got 'x', expected"),
        ("training.max_grad_l2_norm=big", "training.max_grad_l2_norm: got 'big', expected a numb"),
        (
            "training.logger_level=inof",
            "logger_level: got 'inof'. Did you mean info? Choices: deb",
        ),
        ("training.precision=bf61", "training.precision: got 'bf61'. Did you mean bf16? Choices"),
        ("evaluation.predict_file_format=jsn", "predict_file_format: got 'jsn'. Did you mean json"),
        ("training.lr_steps=5", "training.lr_steps: got 5, expected a list"),
        ("env.save_dir=", "env.save_dir is empty"),
    ],
)
def test_a_wrong_value_is_one_error(tmp_path, option, message):
    folder = tmp_path / "save"
    with pytest.raises(ValueError) as error:
        run_here(folder, option)
    assert message in str(error.value)
    assert not folder.exists()


def test_a_wrong_value_in_yaml_is_one_error(tmp_path):
    with pytest.raises(ValueError, match=r"training.early_stop: got 'off', expected a section"):
        run_here(tmp_path, changes={"training.early_stop": "off"})


def test_a_whole_number_may_be_written_as_1e1(tmp_path):
    run = run_here(tmp_path, "training.max_updates=1e1", "run_type=train")
    assert run.trainer.num_updates == 10


@pytest.mark.parametrize("good", ["train", "val", "train_val", "train+inference", "train,val-test"])
def test_words_of_a_run(good):
    check_run_type(good)


@pytest.mark.parametrize(
    ("opts", "predict"), [(("run_type=val",), False), (("run_type=test",), False), ((), True)]
)
def test_random_weights_are_not_scored(tmp_path, opts, predict):
    with pytest.raises(ValueError, match=r"its answers would be random. Give checkpoint.resume=tr"):
        run_here(tmp_path, *opts, "evaluation.untrained=false", predict=predict)
    with pytest.raises(FileNotFoundError, match=r"neither .*current.ckpt nor .*best.ckpt to go on"):
        run_here(tmp_path, *opts, "checkpoint.resume=true", predict=predict)
    run_here(tmp_path, *opts, predict=predict)


def test_a_training_may_predict_at_its_end(tmp_path):
    opts = ("evaluation.predict=true", "evaluation.untrained=false", "training.max_updates=2")
    run = run_here(tmp_path, *opts)
    assert run.trainer.num_updates == 2
    assert list(tmp_path.rglob("reports/tiny_*.json"))
    with pytest.raises(FileExistsError, match=r"holds a run"):
        run_here(tmp_path, *opts)


def test_a_prediction_names_its_split(tmp_path):
    with pytest.raises(ValueError, match=r"run_type: got 'train', which names no split to predict"):
        run_here(tmp_path, "run_type=train", predict=True)


def test_the_writer_of_tensorboard_is_closed_after_an_evaluation(tmp_path):
    from mmf_bridge.common.launch import tensorboard_logger

    run = run_here(tmp_path, "run_type=val", "training.tensorboard=true")
    writer = vars(tensorboard_logger(run.trainer))["_summary_writer"]
    assert writer is not None and writer.all_writers is None


def test_a_missing_include_is_named_with_the_file_that_names_it(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("includes:\n- ./nope.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"No configuration file .*nope\.yaml: .*own\.yaml"):
        run_here(tmp_path / "save", f"config={own}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("includes: other.yaml\n", r"own\.yaml: includes is not a list"),
        ("includes: ../other.yaml\n", r"own\.yaml: includes is not a list"),
        ("includes: [5]\n", r"own\.yaml: includes is not a list of files"),
        ("includes: [null]\n", r"own\.yaml: includes is not a list of files"),
        ("includes: [[other.yaml]]\n", r"own\.yaml: includes is not a list of files"),
        ("includes:\n- ./own.yaml\n", r"own\.yaml includes itself"),
        ("model: [tiny\n", r"own\.yaml is not yaml"),
    ],
)
def test_yaml_that_cannot_be_read_is_named(tmp_path, text, message):
    own = tmp_path / "own.yaml"
    own.write_text(text)
    with pytest.raises(ValueError, match=message):
        run_here(tmp_path / "save", f"config={own}")
