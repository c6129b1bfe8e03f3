"""Questions that people ask the catalog: shown beside the SQL page, and run by the tests."""

from __future__ import annotations

EXAMPLES: list[tuple[str, str]] = [
    (
        "Best run of each task and dataset version",
        "SELECT task, dataset_version, run_id, architecture, main_metric, direction, best_value, test_value, runs\n"
        "FROM best_runs ORDER BY task, dataset_version",
    ),
    (
        "Runs of the last seven days",
        "SELECT run_id, title, state, reason, created, round(duration_seconds / 60, 1) AS minutes, last_epoch, best_value\n"
        "FROM runs WHERE created > (now() AT TIME ZONE 'UTC') - INTERVAL 7 DAYS ORDER BY created DESC",
    ),
    (
        "Loss curves of the newest run",
        "SELECT step, epoch, name, value FROM metrics\n"
        "WHERE run_id = (SELECT max(run_id) FROM runs) AND name IN ('train/loss', 'val/loss') ORDER BY name, step",
    ),
    (
        "What differs between runs of a task",
        "SELECT name, count(DISTINCT value) AS different_values, list(DISTINCT value ORDER BY value) AS found\n"
        "FROM run_params GROUP BY name HAVING count(DISTINCT value) > 1 ORDER BY name",
    ),
    (
        "Learning rate against the result",
        "SELECT r.run_id, r.architecture, p.value_number AS learning_rate, r.best_value, r.main_metric\n"
        "FROM runs AS r JOIN run_params AS p ON p.run_id = r.run_id\n"
        "WHERE p.name = 'hyperparameters.optimization.learning_rate' ORDER BY r.best_value",
    ),
    (
        "Test results beside the constant box, with intervals",
        "SELECT m.run_id, m.name, m.value, m.low, m.high, b.value AS baseline, m.n_cards\n"
        "FROM eval_metrics AS m LEFT JOIN eval_metrics AS b\n"
        "  ON b.run_id = m.run_id AND b.split = m.split AND b.name = m.name AND b.predictor = 'baseline'\n"
        "WHERE m.predictor = 'model' AND m.split = 'test' ORDER BY m.run_id, m.name",
    ),
    (
        "Scans on which the borders are worst",
        "SELECT o.run_id, o.sample_id, s.card, o.label, round(o.side_error_mm, 3) AS side_error_mm, s.files\n"
        "FROM eval_objects AS o LEFT JOIN samples AS s ON s.sample_id = o.sample_id\n"
        "WHERE o.variant = 'plain' ORDER BY o.side_error_px DESC LIMIT 50",
    ),
    (
        "Where an artifact comes from, back to the scans",
        "WITH RECURSIVE back AS (\n"
        "  SELECT from_kind, from_id, relation, to_kind, to_id, 1 AS steps FROM lineage WHERE to_kind = 'export'\n"
        "  UNION\n"
        "  SELECT l.from_kind, l.from_id, l.relation, l.to_kind, l.to_id, b.steps + 1\n"
        "  FROM lineage AS l JOIN back AS b ON l.to_kind = b.from_kind AND l.to_id = b.from_id\n"
        ")\n"
        "SELECT * FROM back ORDER BY steps, to_id, from_id",
    ),
    (
        "Datasets, and how far labelling is",
        "SELECT dataset, samples, samples_done, round(100.0 * samples_done / nullif(samples, 0), 1) AS percent_done, cards,\n"
        "  annotations, newest_version FROM datasets ORDER BY dataset",
    ),
    (
        "Who labelled how much, by day",
        "SELECT day, who, tool, dataset, changes, samples, round(minutes, 1) AS minutes FROM annotation_activity\n"
        "ORDER BY day DESC, changes DESC",
    ),
    (
        "What the checks found that stands in the way",
        "SELECT subject, task, check_name, code, samples, why, action FROM findings WHERE severity <> 'info'\n"
        "ORDER BY severity, samples DESC",
    ),
    (
        "Time spent waiting for data",
        "SELECT run_id, round(100 * avg(value), 1) AS waiting_percent FROM metrics WHERE name = 'time/wait_share'\n"
        "GROUP BY run_id ORDER BY waiting_percent DESC",
    ),
    (
        "Peak memory and mean CPU of each run",
        "SELECT run_id, round(max(memory_run_bytes) / 1e9, 2) AS peak_memory_gb, round(avg(cpu_run_percent)) AS cpu_percent,\n"
        "  round(avg(gpu_percent)) AS gpu_percent FROM resources GROUP BY run_id ORDER BY run_id DESC",
    ),
    ("Files that could not be read", "SELECT source, what, seen FROM problems ORDER BY source"),
]
