"""Pictures to study: data sets, folders and globs."""
