"""The lines of `ttt interactive`: text for the model, and commands."""

import difflib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ttt_cli.generation import Generation, unescape, written
from ttt_cli.progress import table
from ttt_config import ConfigError, InvalidValueError, TTTError

if TYPE_CHECKING:
    from ttt_training import Session
    from ttt_training.reading import Reading

HELP = """\
Text is read by the model, which goes on with it; an empty line lets it go on with its own.
The whole text stays in its state. Ctrl-C stops an answer.

/set KEY VALUE  change a setting, as an option of `ttt generate`: /set top_k none
/show           the settings, and how long the text is
/save FILE      keep the state           /load FILE  take up a state
/fork           keep this point          /back       return to it
/reset          forget the text          /quit       leave, as does Ctrl-D

quit, exit, help, show and set KEY VALUE also work without the stroke. A line that begins with a
space is always text."""

WORDS = {"quit": "/quit", "exit": "/quit", "help": "/help", "show": "/show", "set": "/set"}
"""Commands that need no stroke."""


class Repl:
    """One text that a person and a model write in turn.

    Args:
        session: of the model.
        generation: the settings to begin with.
        run: its name, for `--json`.
        json: print each answer as one JSON object a line.
        quiet: print answers and what is asked for, nothing else.
    """

    def __init__(
        self, session: "Session", generation: Generation, *, run: str, json: bool, quiet: bool
    ) -> None:
        self.session = session
        self.generation = generation
        self._run = run
        self._json = json
        self._quiet = quiet
        self._points: list[Reading] = []
        """Where `/fork` was called."""
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": lambda _: print(HELP),
            "/set": self._set,
            "/show": self._show,
            "/save": self._save,
            "/load": self._load,
            "/fork": self._fork,
            "/back": self._back,
            "/reset": self._reset,
        }

    def obey(self, line: str) -> bool:
        """Do what one line asks for; a mistake in it is said on stderr.

        Returns:
            Whether to go on with the next line.
        """
        word, _, rest = line.partition(" ")
        if not rest or word == "set" or line == "show settings":
            word = WORDS.get(word, word)
        if word == "/quit":
            return False
        try:
            if word.startswith("/"):
                self._find(word)(rest.strip())
            else:
                self._answer(line)
        except KeyboardInterrupt:
            self._say("interrupted")
        except TTTError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
        return True

    def _find(self, word: str) -> Callable[[str], None]:
        if word in self._commands:
            return self._commands[word]
        close = difflib.get_close_matches(word, [*self._commands, "/quit"], n=1)
        hint = f"did you mean {close[0]}" if close else "/help lists them"
        raise ConfigError(f"no command {word}; {hint}; text may begin with a space")

    def _answer(self, line: str) -> None:
        """Read a line, in a paragraph of its own, and let the model go on."""
        session = self.session
        if not line and not session.position:
            return
        recent = session.reading.recent
        if line:
            begins = not recent or recent[-1] == session.tokenizer.eos_id
            session.feed(line if begins else f"\n{line}")
        prompt_tokens = session.position
        answer = self.generation.answer(session)
        started = time.perf_counter()
        try:
            for piece in answer:
                if not self._json:
                    print(piece, end="", flush=True)
        except KeyboardInterrupt:  # what was written so far stays in the text
            self._say("interrupted")
        seconds = time.perf_counter() - started
        if not self._json:
            print(flush=True)
            return
        result = written(
            answer.writer,
            self.generation,
            run=self._run,
            prompt=line,
            prompt_tokens=prompt_tokens,
            tokens_per_s=len(answer.writer.token_ids) / seconds,
        )
        print(msgspec.json.encode(result).decode(), flush=True)

    def _set(self, rest: str) -> None:
        key, _, value = rest.partition(" ")
        key, value = key.lstrip("-").replace("-", "_"), value.strip()
        if not key:
            raise ConfigError("set needs a setting and its value, as in /set temperature 0.7")
        settings: dict[str, object] = msgspec.structs.asdict(self.generation)
        if key not in settings:
            close = difflib.get_close_matches(key, settings, n=1)
            hint = f"did you mean {close[0]}" if close else f"there are {', '.join(settings)}"
            raise ConfigError(f"no setting `{key}`; {hint}")
        if not value:
            raise ConfigError(f"{key} needs a value, as in /set {key} {settings[key]}")
        if key == "stop":
            settings[key] = () if value == "none" else (unescape(value),)
        else:
            settings[key] = "0" if (key, value) == ("top_k", "none") else value
        try:
            generation = msgspec.convert(settings, Generation, strict=False)
        except msgspec.ValidationError as error:
            expected = str(error).partition(",")[0].partition(" - ")[0]
            raise InvalidValueError(f"{key} is {value}; {expected.lower()}") from error
        generation.check()
        self.generation = generation

    def _show(self, _: str) -> None:
        rows = [
            (key, " ".join(map(repr, value)) or "none" if isinstance(value, tuple) else str(value))
            for key, value in msgspec.structs.asdict(self.generation).items()
        ]
        print(table([*rows, ("text", f"{self.session.position:,} tokens")]), flush=True)

    def _save(self, rest: str) -> None:
        self.session.save(_file("/save", rest))
        self._say(f"saved {rest}, {self.session.position:,} tokens")

    def _load(self, rest: str) -> None:
        self.session = self.session.load(
            _file("/load", rest), self.session.model, self.session.tokenizer
        )
        self._say(f"loaded {rest}, {self.session.position:,} tokens")

    def _fork(self, _: str) -> None:
        self._points.append(self.session.reading)
        self._say(f"forked at {self.session.position:,} tokens; /back returns here")

    def _back(self, _: str) -> None:
        if not self._points:
            raise ConfigError("there is no point to return to; /fork makes one")
        self.session.reading = self._points.pop()
        self._say(f"back at {self.session.position:,} tokens")

    def _reset(self, _: str) -> None:
        self.session.reset()
        self._say("a new text begins")

    def _say(self, notice: str) -> None:
        if not self._quiet:
            print(f"[{notice}]", file=sys.stderr, flush=True)


def _file(command: str, rest: str) -> Path:
    if not rest:
        raise ConfigError(f"{command} needs the name of a file")
    return Path(rest).expanduser()
