"""The part of the queue that knows what is to be sent, and what was."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lumbargrade.serve.database import Database, send_row
from lumbargrade.serve.states import Send, SendState, State


class Outbox(Database):
    """Files of results, and their destinations."""

    def due(self, destination: str) -> list[Send]:
        """Return what a destination should get now: files of one study."""
        found = self.rows(
            "SELECT * FROM sends WHERE state = ? AND destination = ? AND next <= ? "
            "ORDER BY next, id",
            *(SendState.PENDING, destination, self.clock()),
        )
        return [send_row(row) for row in found if row["study"] == found[0]["study"]]

    def attempted(self, sends: Sequence[Send], delay: float) -> None:
        """Register that files are going to be sent, and tried again after so many seconds."""
        with self.transaction():
            for send in sends:
                self.db.execute(
                    "UPDATE sends SET attempts = attempts + 1, next = ? WHERE id = ?",
                    (self.clock() + delay, send.id),
                )

    def answered(self, send: Send, error: str) -> SendState:
        """Register how a file was sent; the study ends when all of its files are.

        Args:
            send: the file.
            error: why it was not stored; empty if it was.
        """
        with self.transaction():
            state = SendState.SENT
            if error:
                state = SendState.GIVEN_UP if self.clock() >= send.until else SendState.PENDING
            self.db.execute(
                "UPDATE sends SET state = ?, error = ? WHERE id = ? AND state = ?",
                (state, error, send.id, SendState.PENDING),
            )
            if state is not SendState.PENDING:
                self.note(
                    send.study,
                    f"{send.file} of result {send.result} to "
                    f"{send.destination}: {state}{': ' * bool(error)}{error}",
                )
                self._settle(send.study)
            return state

    def give_up_unknown(self, destinations: Collection[str]) -> None:
        """Give up what waits for a destination that is not in the settings any more."""
        found = self.rows("SELECT * FROM sends WHERE state = ?", SendState.PENDING)
        lost = [s for s in map(send_row, found) if s.destination not in destinations]
        with self.transaction():
            for send in lost:
                self.db.execute(
                    "UPDATE sends SET state = ?, error = ? WHERE id = ?",
                    (SendState.GIVEN_UP, "not in the settings any more", send.id),
                )
                self._settle(send.study)

    def _settle(self, number: int) -> None:
        study = self.study(number)
        assert study is not None
        mine = [s for s in self.sends(number) if s.result == study.result]
        states = {s.state for s in mine}
        if study.state is not State.SENDING or SendState.PENDING in states:
            return
        if SendState.GIVEN_UP in states:
            errors = {f"{s.destination}: {s.error}" for s in mine if s.state is SendState.GIVEN_UP}
            self.to(number, State.FAILED, "not sent: " + "; ".join(sorted(errors)))
        else:
            self.to(number, State.DONE)

    def is_own(self, uid: str) -> bool:
        """Whether an instance is a result that was made here."""
        return bool(self.rows("SELECT 1 FROM sends WHERE uid = ? LIMIT 1", uid))

    def sent(self) -> dict[int, tuple[int, int]]:
        """Of the last result of each study that is sent, how many files are, and all of them."""
        found = self.rows(
            "SELECT study, SUM(sends.state = ?) AS sent, COUNT(*) AS n FROM sends "
            "JOIN studies ON studies.id = study AND studies.result = sends.result GROUP BY study",
            SendState.SENT,
        )
        return {row["study"]: (row["sent"], row["n"]) for row in found}
