"""The commands of `nnclip`, one file each: HELP, add_arguments(parser), run(args)."""
