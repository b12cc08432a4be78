"""A tracker for tests: it keeps what it is told, and may fail."""

from typing import ClassVar

from mmf_bridge.tracking.tracker import Tracker, check_params

NAME = "tests.bridge.recorder:Recorder"


class Recorder(Tracker):
    made: ClassVar[list] = []
    fails: ClassVar[tuple] = ()  # names of methods that raise

    def __init__(self, run):
        super().__init__(run)
        check_params("recorder", run.params, lambda colour=None: None)
        self._attempt("begin")
        self.id = run.id or f"id{len(self.made)}"
        self.place = f"where {self.id} is"
        self.figures, self.pictures, self.found, self.is_complete = [], [], {}, None
        self.made.append(self)

    def _attempt(self, method):
        if method in self.fails:
            raise ConnectionError(f"no way to {method}\nand more")

    def scalars(self, figures, step):
        self._attempt("scalars")
        self.figures += [(step, name, figure) for name, figure in figures.items()]

    def picture(self, name, picture, step):
        self._attempt("picture")
        self.pictures.append((step, name, picture))

    def summary(self, figures):
        self._attempt("summary")
        self.found.update(figures)

    def close(self, is_complete):
        self._attempt("close")
        self.is_complete = is_complete

    def steps_of(self, name):
        return [step for step, known, _ in self.figures if known == name]
