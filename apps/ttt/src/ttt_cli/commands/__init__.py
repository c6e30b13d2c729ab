"""One module per command of `ttt`, each with an app named `app` made by `ttt_cli.app.new_app`."""
