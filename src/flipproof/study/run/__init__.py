"""Running a study: cells, jobs, engines."""
