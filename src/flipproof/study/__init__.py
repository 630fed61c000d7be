"""Studies: codecs x photographs x bit error rates x trials, measured and reported."""
