"""A hard prompt's files, and the prompt by which a run asks with it. Light: any engine serves it.

The words and their template stand in the manifest, the whole message beside it as plain text.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from synthgen.adapters import CONFIG, PROMPT_TEXT, WEIGHTS, AdapterManifest
from synthgen.elicit.frame import HardFrame
from synthgen.errors import AdapterError
from synthgen.prompt import Prompt, Tokenizer


def write_hard_prompt(folder: Path, message: str) -> str:
    """Write the whole message as text; returns its hash, for the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in (CONFIG, WEIGHTS):  # of an adapter that was here before
        (folder / file).unlink(missing_ok=True)
    (folder / PROMPT_TEXT).write_bytes(message.encode())
    return _sha256(message)


def served_prompt(manifest: AdapterManifest, prompt: Prompt, tokenizer: Tokenizer) -> Prompt:
    """What a run asks instead of `prompt`: the message with the found words, in the same chat template.

    Raises:
        AdapterError: the words are not read back as the tokens that were found (another tokenizer, or a message
            that they do not fit), or the manifest's words are not those of the text beside it.
    """
    found, at = manifest.prompting, f"adapter {manifest.name!r}"
    assert found is not None
    frame = HardFrame(prompt.user, found.template, tokenizer)
    if tokenizer.decode(found.ids) != found.text or not frame.fits(found.ids):
        raise AdapterError(
            f"{at}: its words {found.text!r} are not read back as the {len(found.ids)} tokens that were found, in "
            "this prompt and by this tokenizer; search it again for this prompt"
        )
    served = frame.prompt(found.text)
    if prompt.fingerprint == manifest.prompts[0].prompt and _sha256(served.user) != manifest.weights_sha256:
        raise AdapterError(
            f"{at}: its manifest's words are not those in {PROMPT_TEXT}; search it again, or restore both"
        )
    return served


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
