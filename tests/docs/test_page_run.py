from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.blocks import PageError, Step, parse_page
from tests.docs.page_run import PageRun, StepFailedError
from tests.waiting import wait_until

PAGE = """# A page
<!-- before
echo brought > along.txt
-->
<!-- file: sub/settings.toml -->
```toml
port = 1883
```
Text.

```sh
grep port sub/settings.toml
```
```text
is shown, not run
```
<!-- run: background until "ready" -->

```sh
echo ready; exec sleep 600
```
<!-- run: again until "xxx" -->
```sh
printf x >> letters; cat letters
```
<!-- run: background -->
```sh
exec sleep 600
```
<!-- run: fails -->
```sh
false
```
<!-- run: skip: needs a board -->
```sh
reboot
```
"""


@pytest.fixture
def run(tmp_path: Path, free_ports: Callable[[int], list[int]]):
    with PageRun(tmp_path, free_ports) as page_run:
        yield page_run


def test_a_page_is_read_as_its_steps() -> None:
    steps = parse_page(PAGE)
    assert [(step.kind, step.detail, step.line) for step in steps] == [
        ("run", "", 2),
        ("file", "sub/settings.toml", 6),
        ("run", "", 11),
        ("background", "ready", 19),
        ("again", "xxx", 23),
        ("background", "", 27),
        ("fails", "", 31),
        ("skip", "needs a board", 35),
    ]
    assert steps[0].text == "echo brought > along.txt\n"


@pytest.mark.parametrize(
    "page",
    [
        "<!-- run: later -->\n```sh\n```\n",
        "<!-- run: fails -->\ntext\n",
        "<!-- run: fails -->\n",
        "<!-- run: skip: -->\n```sh\n```\n",
        "<!-- run:fails -->\n```sh\n```\n",
        "<!-- file: ../$HOME/x y -->\n```sh\n```\n",
        "```sh\nls\n",
        "<!-- before\nls\n",
        "<!-- new house -->\n",
    ],
)
def test_a_page_that_does_not_follow_the_convention_is_refused(page: str) -> None:
    with pytest.raises(PageError):
        parse_page(page)


def test_every_step_of_a_page_is_taken(run: PageRun, tmp_path: Path) -> None:
    for step in parse_page(PAGE):
        run.take(step)
    assert (tmp_path / "along.txt").read_text() == "brought\n"
    assert (tmp_path / "letters").read_text() == "xxx"


def test_a_failing_block_fails_with_its_line_and_output(run: PageRun) -> None:
    with pytest.raises(StepFailedError, match=r"line 7 ended with code 3[\s\S]*so it was"):
        run.take(Step("run", "echo so it was\nexit 3", 7))


def test_a_command_in_the_middle_of_a_block_fails_it(run: PageRun) -> None:
    with pytest.raises(StepFailedError):
        run.take(Step("run", "false\ntrue", 1))


def test_a_block_that_should_fail_and_does_not_is_told(run: PageRun) -> None:
    with pytest.raises(StepFailedError, match="code 0"):
        run.take(Step("fails", "true", 1))


def test_a_background_block_that_ends_before_it_is_ready_is_told(run: PageRun) -> None:
    with pytest.raises(StepFailedError, match="code 4"):
        run.take(Step("background", "exit 4", 1, "ready"))


def test_what_runs_in_the_background_ends_with_the_page(run: PageRun, tmp_path: Path) -> None:
    run.take(Step("background", "sleep 600 & echo $! > child; echo ready; wait", 1, "ready"))
    child = (tmp_path / "child").read_text().strip()
    run.close()
    wait_until(lambda: not _is_alive(child), what="the child of the background block is gone")


def test_a_new_folder_is_empty_and_ends_what_ran_in_the_background(run: PageRun, tmp_path: Path) -> None:
    run.take(Step("background", "echo $$ > leader; echo ready; exec sleep 600", 1, "ready"))
    for step in parse_page('<!-- new folder -->\n```sh\ntest -z "$(ls)"\n```\n'):
        run.take(step)
    leader = (tmp_path / "leader").read_text().strip()
    wait_until(lambda: not _is_alive(leader), what="the background block is gone")


def test_ports_of_pages_become_free_ones_everywhere(run: PageRun, tmp_path: Path) -> None:
    run.take(Step("file", "a 1883 b 18830 http://127.0.0.1:8080/", 1, "ports"))
    text = (tmp_path / "ports").read_text()
    assert " 1883 " not in text
    assert ":8080/" not in text
    assert " 18830 " in text
    run.take(Step("background", "echo at 8080; exec sleep 600", 1, "8080"))
    run.take(Step("again", "echo at 1883", 2, "at 1883"))


def _is_alive(pid: str) -> bool:
    try:
        # pid (name) state …; Z is dead and waits to be reaped.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
