"""How often a model spells an accepted answer in other tokens than the tokenizer would.

One text has several spellings in tokens. Tuning and exact figures know the tokenizer's own, so what the model
writes in another one is mass that they do not see: the share says how much of a lower bound they are.
"""

from __future__ import annotations

from synthgen.engines.protocol import Completion
from synthgen.errors import RecipeError
from synthgen.prompt import Prompt, Tokenizer, answer_ids
from synthgen.runners.local import Admit
from synthgen.validation import Record, Rejection

MOST = 1000  # answers that are looked at


class Spelling:
    """Looks at the first accepted answers of a run; holds two numbers."""

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer, most: int = MOST) -> None:
        self._prompt, self._tokenizer, self._most = prompt, tokenizer, most
        self.n = self.n_other = 0

    def watching(self, admit: Admit) -> Admit:
        """The same `admit`, with a look at what it admits."""

        def look(record: Record, completion: Completion) -> Record | Rejection:
            outcome = admit(record, completion)
            if isinstance(outcome, Record):
                self.add(completion)
            return outcome

        return look

    def add(self, completion: Completion) -> None:
        """Compare one answer's tokens with the tokenizer's; without tokens of this tokenizer it is passed over."""
        ids = completion.token_ids
        if not ids or self.n >= self._most:
            return
        written = ids[:-1] if ids[-1] in self._prompt.stop_ids else ids
        if self._tokenizer.decode(written).split() != completion.text.split():
            return
        try:
            own = answer_ids(self._prompt, self._tokenizer, completion.text, closed=False)
        except RecipeError:  # the tokenizer would join the answer with the prompt
            own = ()
        self.n += 1
        self.n_other += written != own

    @property
    def share(self) -> float | None:
        """Of the answers looked at; None if no engine gave tokens."""
        return self.n_other / self.n if self.n else None
