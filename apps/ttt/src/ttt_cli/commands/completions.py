"""`ttt completions`: a script that teaches a shell to complete `ttt`."""

from typing import Annotated, Literal

import typer

from ttt_cli.app import COMPLETE_VARIABLE, new_app
from ttt_cli.options import Common, common_options

app = new_app()


@app.command()
@common_options
def completions(
    shell: Annotated[
        Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")
    ],
    common: Common,
) -> None:
    """Print a script that completes commands, options and files.

    bash: eval "$(ttt completions bash)" in ~/.bashrc. zsh: source <(ttt completions zsh) in
    ~/.zshrc, after compinit. fish: ttt completions fish > ~/.config/fish/completions/ttt.fish
    """
    import json

    from typer.completion import get_completion_script

    script = get_completion_script(prog_name="ttt", complete_var=COMPLETE_VARIABLE, shell=shell)
    print(json.dumps({"shell": shell, "script": script}) if common.json else script)
