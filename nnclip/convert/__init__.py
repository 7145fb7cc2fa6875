"""From torch files to .h5 and back. The only home of torch, which reading does not need."""
