"""Tokenizers by their name on the Hugging Face hub: `gpt2`, `owner/name`, `owner/name@revision`."""

import re
from pathlib import Path

from ttt_config.errors import TokenizerError
from ttt_data.hub.client import ANSWER_TIMEOUT_S, Hub

_FILE = "tokenizer.json"
_NAME = re.compile(r"(?:hf://)?((?:[\w][\w.-]*/)?[\w][\w.-]*)(?:@([\w][\w./-]*))?")


def is_hub_name(name: str) -> bool:
    """Whether a name could be that of a repository on the hub."""
    return _NAME.fullmatch(name) is not None and not name.endswith(".json")


def hub_tokenizer(name: str) -> Path:
    """Find the tokenizer.json of a repository: in huggingface_hub's cache, else by a download.

    Raises:
        DataError: the hub is needed and cannot be reached, or huggingface_hub is not installed.
        TokenizerError: there is no such public repository, or it has no tokenizer.json.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise TokenizerError(f"`{name}` is no name on the hub: expected `owner/name@revision`")
    repo, revision = match[1], match[2] or "main"
    hub = Hub()
    cached = hub.library.try_to_load_from_cache(repo, _FILE, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    hub.require_reachable(
        f"the tokenizer `{name}` is not on this machine: use bpe-4096 or bytes, or give the path "
        "of a tokenizer.json"
    )
    errors = hub.library.errors
    try:
        return Path(
            hub.library.hf_hub_download(
                repo,
                _FILE,
                revision=revision,
                endpoint=hub.endpoint,
                token=False,
                etag_timeout=ANSWER_TIMEOUT_S,
            )
        )
    except errors.EntryNotFoundError as error:
        raise TokenizerError(f"`{repo}` has no {_FILE} at revision {revision}") from error
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise TokenizerError(f"no public repository `{repo}` on {hub.endpoint}") from error
    except Exception as error:  # the library lets those of its HTTP client through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TokenizerError(f"{hub.endpoint} could not give `{name}`: {reason}") from error
