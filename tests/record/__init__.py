"""Tests of the result file; sample.py makes result files for other tests too."""
