"""The commands of `python -m nnclip`, one file each: HELP, add_arguments(parser), run(args)."""
