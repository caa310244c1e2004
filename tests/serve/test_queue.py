"""The states of studies, with a clock that only the tests move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lumbargrade.domain.errors import UsageError
from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.keeper import Keeper
from lumbargrade.serve.queue import ATTEMPTS, Queue
from lumbargrade.serve.settings import StudySettings
from lumbargrade.serve.states import About, Claim, Instance, SendState, State

NOW = 1_000_000.0

ABOUT = About("Doe^Jane", "4711", "20240101", "L spine")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[Queue]:
    found = Queue(tmp_path / "queue.sqlite", clock)
    yield found
    found.close()


def receive(queue: Queue, count: int = 3, *, uid: str = "1.2", about: About = ABOUT) -> int:
    study = queue.number_of(uid, about)
    for number in range(count):
        queue.add(study, Instance(f"{uid}.{number}", f"digest {number}", 100), about)
    return study


def state(queue: Queue, study: int) -> State:
    found = queue.study(study)
    assert found is not None
    return found.state


def taken(queue: Queue) -> Claim:
    claim = queue.claim()
    assert claim is not None
    return claim


def graded(queue: Queue, *, to: tuple[str, ...] = ("archive",)) -> Claim:
    """Receive a study and grade it."""
    receive(queue)
    queue.complete(0, 0)
    claim = taken(queue)
    queue.graded(
        claim, {"sr.dcm": f"9.{claim.result}"}, dict.fromkeys(to, 3600.0), "all normal or mild"
    )
    return claim


def test_a_study_is_complete_after_a_quiet_time(queue: Queue, clock: Clock) -> None:
    study = receive(queue)
    clock.now += 59
    assert queue.complete(60, 0) == []
    receive(queue, 4)
    clock.now += 59
    assert queue.complete(60, 0) == []
    clock.now += 1
    assert queue.complete(60, 0) == [study]
    assert state(queue, study) is State.WAITING


@pytest.mark.parametrize(("said", "configured"), [(3, 0), (0, 3), (3, 99)])
def test_a_study_is_complete_with_all_instances(queue: Queue, said: int, configured: int) -> None:
    about = About(expected=said)
    study = receive(queue, 2, about=about)
    assert queue.complete(60, configured) == []
    receive(queue, 3, about=about)
    assert queue.complete(60, configured) == [study]


def test_one_claim_per_study(queue: Queue) -> None:
    receive(queue, uid="1.2")
    receive(queue, uid="1.3")
    queue.complete(0, 0)
    assert {taken(queue).uid, taken(queue).uid} == {"1.2", "1.3"}
    assert queue.claim() is None


def test_a_crash_while_grading_keeps_the_number_of_the_result(queue: Queue) -> None:
    receive(queue)
    queue.complete(0, 0)
    first = taken(queue)
    assert queue.recover() == 1
    assert taken(queue) == first


def test_a_study_that_is_in_work_at_every_crash_has_failed(queue: Queue) -> None:
    study = receive(queue)
    queue.complete(0, 0)
    for _ in range(ATTEMPTS):
        taken(queue)
        queue.recover()
    assert queue.claim() is None
    assert state(queue, study) is State.FAILED
    assert queue.retry(study, 1.0)
    assert taken(queue).result == 1


def test_a_worker_that_is_stopped_costs_no_attempt(queue: Queue) -> None:
    receive(queue)
    queue.complete(0, 0)
    for _ in range(2 * ATTEMPTS):
        queue.release(taken(queue))
    assert taken(queue).result == 1


def test_new_instances_while_grading_discard_the_result(queue: Queue) -> None:
    study = receive(queue)
    queue.complete(0, 0)
    claim = taken(queue)
    receive(queue, 4)
    assert state(queue, study) is State.GRADING
    assert queue.graded(claim, {"sr.dcm": "9.1"}, {"archive": 1.0}) is State.RECEIVING
    assert queue.sends(study) == []
    queue.complete(0, 0)
    assert taken(queue).result == 2


def test_new_instances_after_grading_make_a_new_result(queue: Queue) -> None:
    claim = graded(queue)
    receive(queue, 4)
    assert state(queue, claim.id) is State.RECEIVING
    queue.complete(0, 0)
    again = taken(queue)
    assert again.result == 2
    queue.graded(again, {"sr.dcm": "9.2"}, {"archive": 1.0})
    states = {send.result: send.state for send in queue.sends(claim.id)}
    assert states == {1: SendState.SUPERSEDED, 2: SendState.PENDING}
    told = [what for _, what in queue.history(claim.id)]
    assert "new images after result 1; the study will be graded again" in told


def test_a_study_is_done_when_all_is_sent(queue: Queue) -> None:
    claim = graded(queue, to=("archive", "web"))
    assert [len(queue.due(name)) for name in ("archive", "web", "other")] == [1, 1, 0]
    for name in ("archive", "web"):
        assert state(queue, claim.id) is State.SENDING
        (send,) = queue.due(name)
        queue.attempted([send], 5.0)
        queue.answered(send, "")
        assert queue.due(name) == []
    assert state(queue, claim.id) is State.DONE
    assert queue.sent() == {claim.id: (2, 2)}
    assert queue.is_own("9.1")
    assert not queue.is_own("1.2.0")


def test_an_attempt_is_registered_before_it_begins(queue: Queue, clock: Clock) -> None:
    graded(queue)
    (send,) = queue.due("archive")
    queue.attempted([send], 5.0)
    assert queue.due("archive") == []  # a crash now, and the next start waits
    clock.now += 5
    assert [again.attempts for again in queue.due("archive")] == [1]


def test_sending_is_given_up_and_tried_again_by_a_user(queue: Queue, clock: Clock) -> None:
    claim = graded(queue)
    (send,) = queue.due("archive")
    assert queue.answered(send, "refused") is SendState.PENDING
    clock.now += 3600
    assert queue.answered(send, "refused") is SendState.GIVEN_UP
    study = queue.study(claim.id)
    assert study is not None
    assert (study.state, study.reason) == (State.FAILED, "not sent: archive: refused")
    assert queue.retry(claim.id, 3600)
    assert state(queue, claim.id) is State.SENDING
    (send,) = queue.due("archive")
    queue.answered(send, "")
    assert state(queue, claim.id) is State.DONE
    assert not queue.retry(claim.id, 3600)


def test_a_destination_that_is_not_in_the_settings_any_more(queue: Queue) -> None:
    claim = graded(queue, to=("archive", "web"))
    queue.give_up_unknown({"archive", "web"})
    assert state(queue, claim.id) is State.SENDING
    queue.give_up_unknown({"web"})
    assert state(queue, claim.id) is State.SENDING
    queue.answered(queue.due("web")[0], "")
    study = queue.study(claim.id)
    assert study is not None
    assert study.state is State.FAILED
    assert study.reason == "not sent: archive: not in the settings any more"


def test_without_destinations_a_study_is_done(queue: Queue) -> None:
    assert state(queue, graded(queue, to=()).id) is State.DONE


def test_a_result_without_dicom_objects_is_told(queue: Queue) -> None:
    study = receive(queue)
    queue.complete(0, 0)
    assert queue.graded(taken(queue), {}, {"archive": 1.0}) is State.DONE
    row = queue.study(study)
    assert row is not None
    assert row.reason.startswith("nothing was sent")


def test_a_failed_study_has_a_reason(queue: Queue) -> None:
    study = receive(queue)
    queue.complete(0, 0)
    assert queue.failed(taken(queue), "no series") is State.FAILED
    row = queue.study(study)
    assert row is not None
    assert row.reason == "no series"


def test_removal_forgets_the_patient_but_not_what_was_sent(queue: Queue, clock: Clock) -> None:
    claim = graded(queue)
    queue.answered(queue.due("archive")[0], "")
    assert queue.expired(60) == []
    clock.now += 60
    assert [study.id for study in queue.expired(60)] == [claim.id]
    assert queue.forget_images(claim.id)
    row = queue.study(claim.id)
    assert row is not None
    assert (row.state, row.patient, row.patient_id) == (State.REMOVED, "", "")
    assert queue.instances(claim.id) == set()
    assert queue.is_own("9.1")
    receive(queue)
    assert state(queue, claim.id) is State.RECEIVING
    queue.complete(0, 0)
    assert taken(queue).result == 2


def test_results_that_were_not_sent_are_kept(queue: Queue, clock: Clock) -> None:
    claim = graded(queue)
    clock.now += 3600
    queue.answered(queue.due("archive")[0], "refused")
    clock.now += 60
    assert [study.id for study in queue.expired(60)] == [claim.id]
    assert not queue.forget_images(claim.id)
    assert state(queue, claim.id) is State.FAILED
    assert queue.retry(claim.id, 3600)


def test_old_studies_are_removed_after_a_time(queue: Queue, clock: Clock, tmp_path: Path) -> None:
    claim = graded(queue, to=())
    keeper = Keeper(StudySettings(keep_days=2), Folders(tmp_path), queue)
    clock.now += 2 * 86_400 - 1
    keeper.remove_old()
    assert state(queue, claim.id) is State.DONE
    clock.now += 1
    replace(keeper, settings=StudySettings(keep_days=0)).remove_old()
    assert state(queue, claim.id) is State.DONE
    keeper.remove_old()
    assert state(queue, claim.id) is State.REMOVED


def test_what_is_on_the_disk_is_the_queue(tmp_path: Path, clock: Clock) -> None:
    first = Queue(tmp_path / "queue.sqlite", clock)
    study = receive(first)
    first.close()
    second = Queue(tmp_path / "queue.sqlite", clock)
    assert len(second.instances(study)) == 3
    assert second.size(study) == 300
    assert second.counts()[State.RECEIVING] == 1
    second.close()


def test_another_file_is_not_a_queue(tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_text("not a database, but a text that is long enough" * 20)
    with pytest.raises(UsageError, match=r"queue\.sqlite: cannot be used"):
        Queue(tmp_path / "queue.sqlite")
    newer = Queue(tmp_path / "newer.sqlite")
    newer.db.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(UsageError, match="version 99"):
        Queue(tmp_path / "newer.sqlite")


def test_a_review_is_registered_only_for_the_last_result(queue: Queue) -> None:
    claim = graded(queue)
    told = {"sr.dcm": "9.8"}, {"archive": 1.0}, "1 severe"
    before = queue.study(claim.id)
    assert before is not None
    assert queue.reviewed(before, *told)
    assert not queue.reviewed(before, *told)
    assert [(send.result, send.state) for send in queue.sends(claim.id)] == [
        (1, SendState.SUPERSEDED),
        (2, SendState.PENDING),
    ]
    after = queue.study(claim.id)
    assert after is not None
    receive(queue, 4)
    assert not queue.reviewed(after, *told)
