"""The experiments of arXiv:1706.00043, section 4 and appendix A.2, on the paper's data: `python -m examples.paper --help`."""
