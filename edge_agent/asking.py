"""Asks the agent that runs on a state folder, and waits for its answer; as the user whose state folder it is."""

import os
from pathlib import Path
from threading import Event
from typing import Final

from edge_agent.errors import AgentError, StorageError
from edge_agent.lock import is_in_use
from edge_agent.mailbox import Ask, LocalAnswer, leave_ask, new_id, take_answer, withdraw

LOOK_S: Final = 0.05
# Longest wait for an agent that is at work to take notice; its housekeeping looks ten times a second.
ANSWER_S: Final = 30.0


class AgentSilentError(AgentError):
    """The agent that runs here does not answer: look at its log."""

    exit_code = 8


def ask_to_diagnose(state: Path, ask: Ask) -> str | None:
    """Return what a running agent tells of itself, as JSON; None where none runs or answers."""
    if not is_in_use(state):
        return None
    try:
        return ask_agent(state, new_id(), ask).report
    except AgentError:
        return None


def become_owner_of(state: Path) -> None:
    """Go on for good as the user whose state folder it is, if root asks: the agent must be able to change its files."""
    try:
        owner = state.stat()
    except FileNotFoundError:
        return
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def ask_agent(state: Path, ask_id: str, ask: Ask) -> LocalAnswer:
    """Ask the running agent, and return its answer.

    Raises:
        AgentSilentError: there is none in time.
        StorageError: the state folder cannot be written.
    """
    try:
        leave_ask(state, ask_id, ask)
    except OSError as error:
        raise StorageError(f"{state}: cannot be written: {error.strerror or error}") from error
    waiting = Event()
    for _ in range(round(ANSWER_S / LOOK_S)):
        answer = take_answer(state, ask_id)
        if answer is not None:
            return answer
        waiting.wait(LOOK_S)
    if withdraw(state, ask_id):
        raise AgentSilentError(f"the agent that uses {state} took no notice within {ANSWER_S:g} s; look at its log")
    raise AgentSilentError(f"the agent that uses {state} took notice and gave no answer; see: fieldloop-agent status")
