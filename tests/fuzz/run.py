"""`python -m tests.fuzz.run FOLDER COUNT SEED`: damages valid files and reads them.

Reading has to succeed or to raise the documented error, whatever the damage. Each batch runs in a
process of its own, so that a crash is seen; the first failure of each kind is printed, and leaves
the damaged file in the folder.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from clipvil_mmf.data.formats import read_table
from clipvil_mmf.data.grids import BadGridsError, GridStore, ImageGrid, writing_shard
from clipvil_mmf.data.image_files import image_size
from clipvil_mmf.data.images import BadImageError, FitPad, decode
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.regions import BadRegionsError, RegionParams, RegionStore
from clipvil_mmf.data.store import open_or_convert
from clipvil_mmf.text_files import TextFileError, read_labels
from clipvil_mmf.weight_files import WeightFileError, read_weights
from mmf_bridge.common.checkpoint_files import safe_load
from tests.fixtures.make import write_uniter

BATCH = 50
FIXTURES = Path(__file__).parents[1] / "fixtures"
VQA = FIXTURES / "vqa2"
# Question files of the other data sets.
OTHERS = {
    "aokvqa.json": "aokvqa/aokvqa_v1p0_val.json",
    "genome.json": "visual_genome/question_answers.json",
    "nlvr2.json": "nlvr2/dev.json",
    "pretraining.json": "pretraining/mscoco_minival.json",
    "snli_ve.jsonl": "snli_ve/snli_ve_dev.jsonl",
    "stvqa.json": "stvqa/train_task_3.json",
    "textvqa.json": "textvqa/TextVQA_0.5.1_val.json",
    "vizwiz.json": "vizwiz/val.json",
}
MEMORY = 16 << 30  # address space that a batch may take; what torch's libraries take is in it
STATE = {"a.weight": torch.randn(20, 30), "a.bias": torch.arange(9).half(), "b": torch.tensor(3)}


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(3, 4).half()
        self.register_buffer("steps", torch.arange(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.steps.sum()


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def weights() -> dict[str, bytes]:
    old = {"_use_new_zipfile_serialization": False}
    return {
        "zip.pth": saved(lambda file: torch.save(STATE, file)),
        "old.pth": saved(lambda file: torch.save(OrderedDict(STATE), file, **old)),
        "a.safetensors": save(STATE),
        "script.pt": saved(lambda file: torch.jit.save(torch.jit.script(Module()), file)),
    }


def annotations() -> dict[str, bytes]:
    rows = [{"question_id": i, "image": "a", "question": "?", "answer": "é"} for i in range(9)]
    lxmert = [{"question_id": i, "img_id": "a", "sent": "?", "label": {"a": 0.3}} for i in range(9)]
    gqa = {f"{i}": {"imageId": "1", "question": "?", "answer": "yes"} for i in range(9)}
    vqa = [{"question_id": i, "image_id": 9, "question": "?"} for i in range(9)]
    texts = {
        "plain.json": json.dumps(rows),
        "lines.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "lxmert.json": json.dumps(lxmert),
        "gqa.json": json.dumps(gqa),
        "vqa.json": json.dumps({"data_subtype": "val2014", "questions": vqa}),
    }
    texts |= {name: (FIXTURES / path).read_text() for name, path in OTHERS.items()}
    packed = gzip.compress(texts["plain.json"].encode(), mtime=0)
    found = {name: text.encode() for name, text in texts.items()}
    return {**found, "packed.json.gz": packed, **npy_annotations()}


def npy_annotations() -> dict[str, bytes]:
    rows = np.empty(9, dtype=object)
    rows[0] = {"dataset_name": "vqa", "has_answer": True}
    for i in range(1, 9):
        rows[i] = {
            "question_id": np.int64(i),
            "question_str": f"is it {i}?",
            "image_id": i,
            "image_name": f"COCO_train2014_{i:012d}",
            "all_answers": np.array(["red", "blue"] * 5, dtype=object),
            "boxes": np.zeros((i, 4), np.float32),
            "seen": {1, 2},
        }
    head = saved(
        lambda file: np.lib.format.write_array_header_1_0(
            file, {"descr": "|O", "fortran_order": False, "shape": (9,)}
        )
    )
    return {f"{protocol}.npy": head + pickle.dumps(rows, protocol) for protocol in (2, 3, 4)}


def stores() -> dict[str, bytes]:
    """A question file with its store, and the sizes of the images that this keeps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(VQA / "train.json", folder)
        open_or_convert([folder / "train.json"], folder / "stores" / "train").image_sizes(VQA)
        files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def images() -> dict[str, bytes]:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[274] = 6
    Image.init()
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP"}
    kinds |= {"tiff": "TIFF", "avif": "AVIF", "ppm": "PPM"}
    found = {
        f"a.{ending}": saved(lambda file, kind=kind: image.save(file, kind, exif=exif))
        for ending, kind in kinds.items()
        if kind in Image.SAVE
    }
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    return {**found, "deep.png": saved(lambda file: deep.save(file, "PNG"))}


def regions() -> dict[str, bytes]:
    boxes = np.array([[0, 0, 9, 9]] * 3, np.float32)
    features = np.ones((3, 6), np.float32)
    info = {"bbox": boxes, "image_width": 20, "image_height": 10, "num_boxes": 3}
    sizes = {"width": 20, "height": 10}
    return {
        "a.npz": saved(lambda file: np.savez(file, features=features, boxes=boxes, **sizes)),
        "b.npy": saved(lambda file: np.save(file, features)),
        "b_info.npy": saved(lambda file: np.save(file, info)),
    }


def read_image(path: Path) -> None:
    image_size(path, True)
    decode(str(path), FitPad(48, 64))


def read_store(path: Path) -> None:
    """What is read has to be what was kept, whatever file of the store is damaged."""
    folder = next(folder for folder in path.parents if (folder / "train.json").is_file())
    table = open_or_convert([folder / "train.json"], folder / "stores" / "train")
    if path.name == "train.json":
        return  # the questions are others
    expected = read_table([VQA / "train.json"])
    assert list(table) == list(expected)
    assert (table.image_sizes(VQA) == expected.image_sizes(VQA)).all()


def databases() -> dict[str, bytes]:
    lines = (FIXTURES / OTHERS["snli_ve.jsonl"]).read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        write_uniter(Path(folder, "ve.db"), [json.loads(line) for line in lines])
        names = ("data.mdb", "id2len.json")
        return {f"ve.db/{name}": Path(folder, "ve.db", name).read_bytes() for name in names}


def read_database(path: Path) -> None:
    list(read_table([path.with_name("data.mdb")]))


def grids() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "0.arrow")
        with writing_shard(file, "fp16") as shard:
            for name in ("a", "b"):
                shard.add(
                    name, ImageGrid(np.ones((2, 3, 4), np.float16), np.ones((2, 3), np.uint8))
                )
        return {"0.arrow": file.read_bytes(), "features.json": b'{"layout": "compact"}'}


def read_grids(path: Path) -> None:
    GridStore(["a.jpg", "b.jpg"], path.parent, masks_padding=True).batch([0, 1])


def labels() -> dict[str, bytes]:
    names = ["yes", "no", "caf\u00e9", ""]
    entries = [{"ans": name, "dsets": ["vqa"]} for name in names]
    texts = {
        "a.txt": "\n".join(names),
        "a.json": json.dumps(names),
        "all.json": json.dumps(entries),
    }
    return {name: text.encode() for name, text in texts.items()}


def read_regions(path: Path) -> None:
    names = {"a.npz": "a", "b.npy": "b", "b_info.npy": "b"}
    RegionStore([names[path.name]], RegionParams(str(path.parent))).read([0])


# The valid files, how they are read, and what may be raised.
KINDS: dict[str, tuple[Callable, Sequence[Callable[[Path], object]], type[Exception]]] = {
    "weights": (weights, [read_weights], WeightFileError),
    "checkpoints": (weights, [safe_load], ValueError),
    "annotations": (annotations, [lambda path: list(read_table([path]))], AnnotationError),
    "stores": (stores, [read_store], AnnotationError),
    "images": (images, [read_image], BadImageError),
    "regions": (regions, [read_regions], BadRegionsError),
    "databases": (databases, [read_database], AnnotationError),
    "grids": (grids, [read_grids], BadGridsError),
    "labels": (labels, [read_labels], TextFileError),
}


def damaged(content: bytes, lots: random.Random) -> bytes:
    """A few bytes changed, left out, doubled or put in; or a record of a zip, with its checksum."""
    if content[:4] == b"PK\x03\x04" and lots.random() < 0.6:
        return damaged_record(content, lots)
    changed = bytearray(content)
    for _ in range(lots.choice((1, 1, 1, 2, 5, 30))):
        place = lots.randrange(len(changed))
        length = lots.choice((1, 1, 2, 4, 8, 64))
        match lots.choice(("change", "change", "change", "edge", "hole", "double", "insert")):
            case "change":
                changed[place] = lots.randrange(256)
            case "edge":
                changed[place : place + 4] = lots.choice((b"\xff" * 4, b"\x7f" * 4, bytes(4)))
            case "hole":
                changed[place : place + length] = bytes(length)
            case "double":
                changed[place:place] = changed[place : place + length]
            case "insert":
                changed[place:place] = lots.randbytes(length)
    if lots.random() < 0.1:
        del changed[lots.randrange(len(changed)) :]
    return bytes(changed)


def damaged_record(content: bytes, lots: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        records = {name: whole.read(name) for name in whole.namelist()}
    chosen = lots.choice([name for name in records if records[name]] + ["data.pkl"] * 4)
    name = next((name for name in records if name.endswith(chosen)), next(iter(records)))
    records[name] = damaged(records[name], lots)

    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w") as out:
            for name, record in records.items():
                out.writestr(name, record)

    return saved(write)


def run_batch(kind: str, seed: int, folder: Path) -> None:
    """Damage and read files of a kind; ends with the first failure."""
    make, readers, allowed = KINDS[kind]
    torch.manual_seed(0)
    files, lots = make(), random.Random(seed)
    for number in range(BATCH):
        name = lots.choice(list(files))
        shutil.rmtree(folder / "stores", ignore_errors=True)
        for other, content in files.items():
            (folder / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / other).write_bytes(content)
        (folder / name).write_bytes(damaged(files[name], lots))
        if name.startswith("stores") and lots.random() < 0.05:
            (folder / name).unlink()
        print(f"{kind}: {name}, seed {seed}, number {number}", file=sys.stderr, flush=True)
        for read in readers:
            try:
                read(folder / name)
            except allowed:
                continue


def in_a_process(kind: str, seed: int, folder: Path) -> str | None:
    """Run a batch in a process of its own; what went wrong."""
    folder.mkdir()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 2)
        try:
            run_batch(kind, seed, folder)
        except BaseException:  # noqa: BLE001  (a process that was forked must not go on)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return None
    lines = (folder / "log.txt").read_text(errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.startswith(f"{kind}: ")), kind)
    return f"{last} (status {os.waitstatus_to_exitcode(status)}): {lines[-1:]}; see {folder}"


def main(folder: Path, count: int, seed: int) -> int:
    warnings.simplefilter("ignore")
    failures = []
    for kind in KINDS:
        for batch in range(-(-count // BATCH)):
            failure = in_a_process(kind, seed + batch, folder / f"{kind}{batch}")
            if failure is not None:
                failures.append(failure)
                break
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
