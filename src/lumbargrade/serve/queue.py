"""The studies of a node and their states, in an SQLite file that outlives every crash.

A study goes through these states::

    receiving --(quiet, or all instances)--> waiting --(a worker is free)--> grading
    grading --> sending --(all is sent)--> done
    grading --(no result)--> failed;  sending --(given up)--> failed
    failed --(a user asks)--> waiting or sending
    done, failed --(after a time)--> removed
    any state --(an instance that is new or has other pixels)--> receiving

Every arrow is one transaction, and no file is needed to know the state. What a process that is
killed (``kill -9``) leaves behind, and what makes it harmless:

* *While an instance is received*: the file is written beside the others, then renamed, then
  registered here, then acknowledged. A file that is not registered was not acknowledged; the
  sender will send it again, and the next start removes it.
* *receiving, waiting*: nothing is in work. The quiet time goes on.
* *grading*: the next start sets the study back to waiting. Its result has the same number, hence
  the same folder and fingerprint, so a result that was complete (``findings.json`` comes last) is
  found and not made again. Workers end with this process. A study that was in work at `ATTEMPTS`
  such ends has failed, because it may be the cause.
* *After grading*: result and sends are registered in the transaction that ends grading; there is
  no moment in which a study is graded but nothing will be sent.
* *sending*: an attempt is registered, with the time of the next one, before it begins. If the
  answer was lost, the file is sent again with the same SOP instance UID, which replaces the same
  object in an archive. What was answered with success is never sent again.
* *Removal*: the transaction comes first, then the folders; the next start removes what is left.

An instance that arrives while its study is graded does not stop that; the result is discarded when
it is complete, and the study is graded again with all instances. If results were sent before, the
next ones have a new number, and the history of the study says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from lumbargrade.serve.database import study_row
from lumbargrade.serve.outbox import Outbox
from lumbargrade.serve.states import About, Claim, Instance, SendState, State, StudyRow

#: How often a study may be in work when the process ends before it has failed.
ATTEMPTS = 3


class Queue(Outbox):
    """The queue of a node; all threads share one object. See `Database`."""

    def recover(self) -> int:
        """Set studies back to waiting that were being graded when the process ended.

        Returns:
            Their number.
        """
        sql = "SELECT id FROM studies WHERE state = ?"
        with self.transaction():
            # made for an instance that was then refused
            self.db.execute("DELETE FROM studies WHERE revision = 0")
            ids = [row["id"] for row in self.rows(sql, State.GRADING)]
            for study in ids:
                self.to(study, State.WAITING)
                self.note(study, "the program ended while the study was graded")
            return len(ids)

    def number_of(self, uid: str, about: About) -> int:
        """Return the queue number of a study, which is made if it is new."""
        with self.transaction():
            now = self.clock()
            found = self.rows("SELECT id FROM studies WHERE uid = ?", uid)
            if found:
                return int(found[0]["id"])
            texts = (about.patient, about.patient_id, about.date, about.description)
            made = self.db.execute(
                "INSERT INTO studies VALUES "
                "(NULL, ?, ?, 0, 0, 0, 0, ?, ?, ?, ?, '', '', ?, ?, ?, ?)",
                (uid, State.RECEIVING, now, now, now, about.expected, *texts),
            )
            assert made.lastrowid is not None
            return made.lastrowid

    def instance(self, study: int, uid: str) -> Instance | None:
        """Return an instance, if it is stored."""
        found = self.rows(
            "SELECT uid, digest, size FROM instances WHERE study = ? AND uid = ?", study, uid
        )
        return Instance(**found[0]) if found else None

    def instances(self, study: int) -> set[str]:
        """Return the UIDs of a study's instances; see `Instance`."""
        found = self.rows("SELECT uid FROM instances WHERE study = ?", study)
        return {row["uid"] for row in found}

    def instance_counts(self) -> dict[int, int]:
        """Number of stored instances of each study that has any."""
        found = self.rows("SELECT study, COUNT(*) AS n FROM instances GROUP BY study")
        return {row["study"]: row["n"] for row in found}

    def size(self, study: int) -> int:
        """Return the bytes of a study's instances."""
        sql = "SELECT COALESCE(SUM(size), 0) AS size FROM instances WHERE study = ?"
        return int(self.rows(sql, study)[0]["size"])

    def add(self, study: int, instance: Instance, about: About) -> None:
        """Register an instance that is new or has other pixels; its file must be in place."""
        with self.transaction():
            before = self.study(study)
            assert before is not None
            now = self.clock()
            self.db.execute(
                "INSERT OR REPLACE INTO instances VALUES (?, ?, ?, ?)",
                (study, instance.uid, instance.digest, instance.size),
            )
            self.db.execute(
                "UPDATE studies SET revision = revision + 1, received = ?, attempts = 0, "
                "expected = MAX(expected, ?), patient = ?, patient_id = ?, date = ?, "
                "description = ? WHERE id = ?",
                (
                    *(now, about.expected, about.patient, about.patient_id, about.date),
                    *(about.description, study),
                ),
            )
            if before.state is State.GRADING:
                return  # its end notices the revision
            if before.state is not State.RECEIVING:
                if before.result and before.state is not State.REMOVED:
                    self.note(
                        study,
                        f"new images after result {before.result}; the study will be graded again",
                    )
                self.to(study, State.RECEIVING)

    def complete(self, quiet: float, expected: int) -> list[int]:
        """Let studies wait for grading that are complete; return their numbers.

        Args:
            quiet: seconds without a new instance.
            expected: number of instances, for studies that do not say it; 0: any.
        """
        with self.transaction():
            found = self.rows(
                "SELECT id FROM studies WHERE state = ? AND revision > 0 AND (received <= ? OR "
                "(SELECT COUNT(*) FROM instances WHERE study = id) >= "
                "COALESCE(NULLIF(expected, 0), NULLIF(?, 0), 1e9))",
                *(State.RECEIVING, self.clock() - quiet, expected),
            )
            for row in found:
                self.to(row["id"], State.WAITING)
            return [row["id"] for row in found]

    def claim(self) -> Claim | None:
        """Take the study that has waited longest for grading; None if none waits."""
        with self.transaction():
            while True:
                sql = "SELECT * FROM studies WHERE state = ? ORDER BY changed, id LIMIT 1"
                found = self.rows(sql, State.WAITING)
                if not found:
                    return None
                study = study_row(found[0])
                if study.attempts >= ATTEMPTS:
                    self.to(
                        *(study.id, State.FAILED),
                        f"the program ended {ATTEMPTS} times while the study was graded",
                    )
                    continue
                # the same images have the same result
                again = study.graded == study.revision and study.result > 0
                result = study.result if again else study.result + 1
                self.db.execute(
                    "UPDATE studies SET attempts = attempts + 1, result = ?, graded = revision "
                    "WHERE id = ?",
                    (result, study.id),
                )
                self.to(study.id, State.GRADING)
                return Claim(study.id, study.uid, study.revision, result)

    def release(self, claim: Claim) -> None:
        """Let a study wait again whose grading was not begun or was stopped on purpose."""
        with self.transaction():
            self.db.execute("UPDATE studies SET attempts = attempts - 1 WHERE id = ?", (claim.id,))
            self.to(claim.id, State.WAITING)

    def graded(
        self,
        claim: Claim,
        files: Mapping[str, str],
        destinations: Mapping[str, float],
        summary: str = "",
    ) -> State:
        """End the grading of a study: send its result, or grade again if images have arrived.

        Args:
            claim: from `claim`.
            files: names of the DICOM files of the result, and their SOP instance UIDs.
            destinations: names, and for how many seconds sending is tried.
            summary: of the result, in a few words.

        Returns:
            Its new state.
        """
        with self.transaction():
            if self._outdated(claim):
                return State.RECEIVING
            self._publish(claim.id, claim.result, files, destinations, summary)
            return State.SENDING if files and destinations else State.DONE

    def reviewed(
        self,
        study: StudyRow,
        files: Mapping[str, str],
        destinations: Mapping[str, float],
        summary: str,
    ) -> bool:
        """Register the next result of a study, with a reader's review applied, and send it.

        Args:
            study: as it was when the review was applied.
            files, destinations, summary: see `graded`.

        Returns:
            False if the study has changed meanwhile; nothing is registered then.
        """
        with self.transaction():
            now = self.study(study.id)
            if now is None or not now.reviewable or now.result != study.result:
                return False
            result = study.result + 1
            self.db.execute("UPDATE studies SET result = ? WHERE id = ?", (result, study.id))
            self.note(study.id, "a reader's review was applied")
            self._publish(study.id, result, files, destinations, summary)
            return True

    def _publish(
        self,
        study: int,
        result: int,
        files: Mapping[str, str],
        destinations: Mapping[str, float],
        summary: str,
    ) -> None:
        """Send a result in place of those before it."""
        now = self.clock()
        self.db.execute("UPDATE studies SET summary = ? WHERE id = ?", (summary, study))
        self.db.execute(
            "UPDATE sends SET state = ? WHERE study = ? AND state != ? AND result != ?",
            (SendState.SUPERSEDED, study, SendState.SENT, result),
        )
        for file, uid in files.items():
            for destination, seconds in destinations.items():
                self.db.execute(
                    "INSERT OR IGNORE INTO sends VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, 0, ?, '')",
                    (
                        *(study, result, file, uid, destination),
                        *(SendState.PENDING, now + seconds),
                    ),
                )
        self.note(study, f"result {result} is complete")
        if destinations and not files:
            self.to(study, State.DONE, "nothing was sent: no DICOM results; the report says why")
        else:
            self.to(study, State.SENDING if destinations else State.DONE)

    def failed(self, claim: Claim, reason: str) -> State:
        """End the grading of a study that has no result; see `graded`."""
        with self.transaction():
            if self._outdated(claim):
                return State.RECEIVING
            self.to(claim.id, State.FAILED, reason)
            return State.FAILED

    def _outdated(self, claim: Claim) -> bool:
        """Take note of the end of grading; receive on if images have arrived meanwhile."""
        study = self.study(claim.id)
        assert study is not None
        self.db.execute("UPDATE studies SET attempts = 0 WHERE id = ?", (claim.id,))
        if study.revision == claim.revision:
            return False
        self.note(claim.id, "images arrived while the study was graded; it is graded again")
        self.to(claim.id, State.RECEIVING)
        return True

    def expired(self, seconds: float) -> list[StudyRow]:
        """Return studies that ended so many seconds ago and still have images or results."""
        found = self.rows(
            "SELECT * FROM studies WHERE state IN (?, ?) AND changed <= ?",
            *(State.DONE, State.FAILED, self.clock() - seconds),
        )
        return [study_row(row) for row in found]

    def forget_images(self, number: int) -> bool:
        """Forget the images of a study, and the study unless a result was not sent.

        Returns:
            Whether results are to be removed too.
        """
        with self.transaction():
            self.db.execute("DELETE FROM instances WHERE study = ?", (number,))
            unsent = (SendState.PENDING, SendState.GIVEN_UP)
            if any(send.state in unsent for send in self.sends(number)):
                return False
            self.db.execute("DELETE FROM history WHERE study = ?", (number,))
            self.to(number, State.REMOVED)
            self.db.execute(
                "UPDATE studies SET summary = '', patient = '', patient_id = '', date = '', "
                "description = '' WHERE id = ?",
                (number,),
            )
            return True

    def studies(self, limit: int = 1000) -> list[StudyRow]:
        """The studies that changed last."""
        found = self.rows("SELECT * FROM studies ORDER BY changed DESC, id DESC LIMIT ?", limit)
        return [study_row(row) for row in found]

    def counts(self) -> dict[State, int]:
        """Number of studies in each state."""
        found = self.rows("SELECT state, COUNT(*) AS n FROM studies GROUP BY state")
        return {**dict.fromkeys(State, 0), **{State(row["state"]): row["n"] for row in found}}

    def longest_wait(self) -> float:
        """Seconds that the oldest waiting study has waited; 0 if none waits."""
        sql = "SELECT MIN(changed) AS since FROM studies WHERE state = ?"
        since = self.rows(sql, State.WAITING)[0]["since"]
        return 0.0 if since is None else max(0.0, self.clock() - since)

    def history(self, number: int) -> list[tuple[float, str]]:
        """What has happened to a study, and when."""
        found = self.rows("SELECT * FROM history WHERE study = ? ORDER BY rowid", number)
        return [(row["time"], row["what"]) for row in found]

    def retry(self, number: int, seconds: float) -> bool:
        """Try a failed study again: send what was given up, or grade it.

        Args:
            number: of the study.
            seconds: for how long sending is tried.

        Returns:
            Whether there was something to try.
        """
        with self.transaction():
            study = self.study(number)
            if study is None or study.state is not State.FAILED:
                return False
            given_up = [
                s
                for s in self.sends(number)
                if s.result == study.result and s.state is SendState.GIVEN_UP
            ]
            self.note(number, "a user asked to try again")
            if given_up:
                for send in given_up:
                    self.db.execute(
                        "UPDATE sends SET state = ?, attempts = 0, next = 0, until = ? "
                        "WHERE id = ?",
                        (SendState.PENDING, self.clock() + seconds, send.id),
                    )
                self.to(number, State.SENDING)
                return True
            if not self.instances(number):
                return False
            self.db.execute("UPDATE studies SET attempts = 0 WHERE id = ?", (number,))
            self.to(number, State.WAITING)
            return True
