"""The page over HTTP: what it shows, and what it does not give away."""

from __future__ import annotations

import http.client
import json
import re
import threading
from contextlib import contextmanager
from html import unescape

import pytest
from PIL import Image

from clipvil_mmf.browsing import html
from clipvil_mmf.browsing.html import commands
from clipvil_mmf.browsing.server import Server
from clipvil_mmf.cli.questions import load_questions
from clipvil_mmf.data.questions import Question
from tests.browsing.small import EVIL, FIRST, QUESTIONS, SECOND, browser


@contextmanager
def served(browser, host: str = "127.0.0.1"):
    listed = commands(browser, "--questions 'x y'", "im ages")
    with Server(browser, listed, host, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(browser(tmp_path_factory.mktemp("small"), FIRST, SECOND)) as server:
        yield server


def ask(server, path: str, method: str = "GET", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def page(server, query: str = "") -> str:
    response, body = ask(server, f"/{query}")
    assert response.status == 200, (response.status, response.headers)
    return body.decode()


def plain(text: str) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", text))


def test_the_page(server) -> None:
    text = page(server)
    assert text.count("<section>") == 5 and text.count("<article>") == 3
    words = " ".join(plain(text).split())
    assert "5 questions on 3 images" in words
    assert "first 52.00 % 3 1 1 78.7 % second 60.00 % 3 2 0 –" in words
    assert "Right: circle, ring (0.6) ✓ first ring score 0.6 50 % loss 1.39 3 best" in words
    assert "loss ≥ 2.08" in words and "– first no answer ✓ second box" in words
    assert 'width="179"' not in text and 'src="/image/0"' in text
    assert "b.png is missing" in words


def test_a_filtered_page_says_so(server) -> None:
    text = page(server, "?run=second&verdict=wrong&sort=-loss")
    assert '<option value="wrong" selected>' in text and '<option value="second" selected>' in text
    assert "second says no confidence of the right answers" in plain(text)
    assert "2</b> questions" in text
    assert "No question fits" in page(server, "?text=nothing")
    assert "of these questions is not known" in plain(page(server, "?sort=-loss"))
    assert "second has no confidences" in plain(page(server, "?run=second&least=5"))


def test_whatever_is_written_is_text(server) -> None:
    text = page(server)
    assert "<script" not in text and "<b>box</b>?" not in text
    assert plain(text).count(EVIL) == 1 and "small <set>" in plain(text)
    query = "?text=%22%3E%3Cscript%3E&answer=%27%3E%3Cb%3E"
    text = page(server, query)
    assert "<script" not in text and 'value="&quot;&gt;&lt;script&gt;"' in text


def test_addresses_are_canonical(server) -> None:
    response, _ = ask(server, "/?text=&verdict=wrong&run=first&page=1")
    assert (response.status, response.headers["Location"]) == (302, "/?verdict=wrong")
    response, _ = ask(server, "/?text=")
    assert (response.status, response.headers["Location"]) == (302, "/")


@pytest.mark.parametrize("path", ["/?tekst=a", "/?least=x", "/ids.json?run=none", "/?text=%ff"])
def test_bad_filters(server, path: str) -> None:
    response, body = ask(server, path)
    assert response.status == 400 and b'id="error"' in body


def test_ids_that_are_not_numbers(server) -> None:
    for key in ("--5", "-", "x", "9" * 900):
        assert "No question fits" in page(server, f"?id={key}")


def test_paths_that_the_system_does_not_take(tmp_path) -> None:
    questions = [Question(1, "?", "x" * 5000), Question(2, "?", "a\0.png")]
    with served(browser(tmp_path, questions=questions)) as server:
        assert plain(page(server)).count("is missing") == 2
        assert [ask(server, f"/image/{n}")[0].status for n in (0, 1)] == [404, 404]


def test_images(server) -> None:
    response, body = ask(server, "/image/0")
    assert response.status == 200 and response.headers["Content-Type"] == "image/png"
    assert body == (server.browser.questions.folder / "a.png").read_bytes()
    for path in ("/image/1", "/image/3", "/image/-1", "/image/", "/image/0/../0", "/image/%D9%A3"):
        response, _ = ask(server, path)
        assert response.status == 404, path


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/image/../../../etc/passwd", "/image/%2e%2e%2fsecret.png"),
        *("/etc/passwd", "//etc/passwd", "/images/a.png", "/image/0%00", "/first.json"),
    ],
)
def test_no_other_file_is_served(server, path: str) -> None:
    response, _ = ask(server, path)
    assert response.status == 404


def test_images_outside_of_the_folder_are_not_served(tmp_path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "images-2").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images-2" / "a.png")
    paths = ["../secret.png", str(tmp_path / "secret.png"), "../images-2/a.png", "sub/../../secret"]
    questions = [Question(n, "?", path) for n, path in enumerate(paths)]
    with served(browser(tmp_path, questions=questions)) as server:
        for number in range(len(paths)):
            assert ask(server, f"/image/{number}")[0].status == 404
        assert plain(page(server)).count("is outside of") == len(paths)


def test_other_formats_and_files_that_are_no_images(tmp_path) -> None:
    names = ["a.tiff", "b.ppm", "text.png", "sub"]
    found = browser(tmp_path, questions=[Question(n, "?", name) for n, name in enumerate(names)])
    folder = found.questions.folder
    for name in names[:2]:
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "text.png").write_text("no image")
    with served(found) as server:
        for number in (0, 1):
            response, body = ask(server, f"/image/{number}")
            assert response.headers["Content-Type"] == "image/png" and body[1:4] == b"PNG"
        assert ask(server, "/image/2")[0].status == ask(server, "/image/3")[0].status == 404
        assert plain(page(server)).count("cannot be read") == 2


def test_exports(server) -> None:
    response, body = ask(server, "/ids.json?compare=differ&sort=id")
    assert response.status == 200 and json.loads(body) == [3, 7, 10]
    assert json.loads(ask(server, "/ids.json?text=nothing")[1]) == []
    (row,) = json.loads(ask(server, "/questions.json?id=10")[1])
    assert row == {
        "question_id": 10,
        "image": "a.png",
        "question": "What shape is it?",
        "question_type": "what",
        "answers": {"circle": 1.0, "ring": 0.6},
    }


def test_exported_questions_are_a_question_file(server, tmp_path) -> None:
    file = tmp_path / "questions.json"
    file.write_bytes(ask(server, "/questions.json")[1])
    assert list(load_questions(str(file), "test")) == QUESTIONS
    text = plain(page(server))
    assert "--questions 'x y' --ids ids.json" in text
    assert "clipvil answer MODEL questions.json --images 'im ages'" in text


def test_paging(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(html, "PER_PAGE", 2)
    with served(browser(tmp_path)) as server:
        first, second, last = (page(server, f"?page={n}" if n > 1 else "") for n in (1, 2, 3))
        assert [text.count("<section>") for text in (first, second, last)] == [2, 2, 1]
        assert 'href="/?page=2">next' in first and "<span>next" in last
        assert page(server, "?page=99") == page(server, "?page=98")
        assert "2 of 3" in second and 'href="/">« first' in second


def test_nothing_is_loaded_from_elsewhere_and_no_script_runs(server) -> None:
    response, body = ask(server, "/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(rb"(src|href|action)=\"(?!/|data:,)", body)


def test_other_sites_names_are_not_answered(server, tmp_path) -> None:
    assert ask(server, "/", Host="evil.example:80")[0].status == 403
    assert ask(server, "/", Host="localhost:1")[0].status == 200
    with served(browser(tmp_path), "0.0.0.0") as open_server:
        assert ask(open_server, "/", Host="my-machine:80")[0].status == 200


def test_addresses_that_cannot_be_read(server) -> None:
    assert ask(server, "/", Host="[x")[0].status == 400


def test_methods(server) -> None:
    response, body = ask(server, "/", "HEAD")
    assert response.status == 200 and not body
    assert ask(server, "/", "POST")[0].status == 501


def test_a_taken_port(server) -> None:
    port = server.server_address[1]
    with pytest.raises(ValueError, match=f"{port}/ cannot be opened: .*Give another --port"):
        Server(server.browser, [], "127.0.0.1", port)
    with pytest.raises(ValueError, match="cannot be opened: encoding of hostname failed"):
        Server(server.browser, [], "a..b\xe9", 0)


def test_an_error_of_ours_ends_no_server(server, monkeypatch, caplog) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(html, "page", lambda *given: 1 / 0)
        response, body = ask(server, "/")
    assert response.status == 500 and "ZeroDivisionError" in caplog.text
    assert b"Traceback" not in body and "5</b> questions" in page(server)


def test_questions_with_two_images(tmp_path) -> None:
    questions = [
        Question(n, "Is it?", ("a.png", "sub/c.png") if n else ("sub/c.png", "a.png"), {"no": 1.0})
        for n in range(3)
    ]
    found = browser(tmp_path, questions=questions)
    with served(found) as server:
        text = page(server)
        assert text.count("<article>") == 2 and text.count("<img") == 4
        assert page(server, "?image=a.png").count("<section>") == 3
        rows = json.loads(ask(server, "/questions.json?id=1")[1])
        assert rows[0]["image"] == ["a.png", "sub/c.png"]
        assert "clipvil answer" not in plain(text)
