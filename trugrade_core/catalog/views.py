"""The catalog's views: what people ask first. Their SQL is stored as text, so it uses only what DuckDB 1.4 parses."""

from __future__ import annotations

from trugrade_core.catalog.columns import View, columns
from trugrade_core.schema import BY_HAND

VIEWS = (
    View(
        "metrics",
        "Numbers that runs reported: of each run, step and name the highest attempt.",
        columns("""
            run_id VARCHAR the run
            step BIGINT optimizer steps done
            epoch BIGINT epoch
            batch BIGINT batch within the epoch; null for validations
            name VARCHAR train/loss, train/<component>, val/loss, val/<metric>, lr, time/step_s, time/wait_share, time/images_per_s
            value DOUBLE the number; unit as the name says (mm for side errors, s for times, 1/s for rates)
            logged TIMESTAMP when it was reported, UTC
            attempt BIGINT attempt that reported it, from 1
        """),
        """
        WITH later AS (
          SELECT run_id, step, name, max(attempt) AS attempt FROM metrics_all WHERE attempt > 1 GROUP BY run_id, step, name
        )
        SELECT m.run_id, m.step, m.epoch, m.batch, m.name, m.value, m.logged, m.attempt
        FROM metrics_all AS m LEFT JOIN later AS l ON l.run_id = m.run_id AND l.step = m.step AND l.name = m.name
        WHERE l.attempt IS NULL OR l.attempt = m.attempt
        """,
    ),
    View(
        "annotations",
        "Labels as they hold now, one row each; of a label in conflict the newest put.",
        columns("""
            dataset VARCHAR name of the dataset
            sample_id VARCHAR the sample
            annotation_id VARCHAR the annotation
            layer VARCHAR main, or a grader's name for blind votes
            label VARCHAR class name; null for scores and tag sets
            type VARCHAR box, polygon, mask, tags or score
            value JSON the shape, pixels of the image after EXIF rotation, pixel centres at integers
            attributes JSON free attributes
            who VARCHAR who said so last
            logged TIMESTAMP when, UTC
            tool VARCHAR with what: importer, canvas, Label Studio
            suggested_by VARCHAR model that suggested it
        """),
        """
        WITH heads AS (
          SELECT * FROM annotation_log AS a
          WHERE op = 'put' AND NOT EXISTS (
            SELECT 1 FROM annotation_log AS b
            WHERE b.dataset = a.dataset AND b.annotation_id = a.annotation_id AND b.replaces = a.entry)
        )
        SELECT dataset, sample_id, annotation_id, layer, label, type, value, attributes, who, logged, tool, suggested_by
        FROM heads WHERE coalesce(type, '') <> 'status'
        QUALIFY row_number() OVER (PARTITION BY dataset, annotation_id, layer ORDER BY position DESC) = 1
        """,
    ),
    View(
        "annotation_activity",
        "What each person did by hand, a row a dataset, tool and day; of Label Studio what was pulled, on the day of its work.",
        columns("""
            dataset VARCHAR name of the dataset
            who VARCHAR the person
            tool VARCHAR annotator, canvas, label_studio, explorer, consensus or cli
            day DATE the day, UTC
            changes BIGINT entries in the log; of Label Studio annotations submitted
            samples BIGINT different samples
            minutes DOUBLE time from each change to the next, in minutes, pauses over five left out; of Label Studio as it counts
        """),
        f"""
        SELECT dataset, who, tool, CAST(logged AS DATE) AS day, count(*) AS changes, count(DISTINCT sample_id) AS samples,
          sum(CASE WHEN gap BETWEEN 0 AND 5 THEN gap ELSE 0 END) AS minutes
        FROM (
          SELECT dataset, who, tool, logged, sample_id,
            date_diff('millisecond', lag(logged) OVER (PARTITION BY who ORDER BY logged, position), logged) / 60000.0 AS gap
          FROM annotation_log
          WHERE tool IN {BY_HAND}
        ) AS steps
        GROUP BY dataset, who, tool, CAST(logged AS DATE)
        UNION ALL
        SELECT dataset, who, 'label_studio', CAST(submitted AS DATE), count(*), count(DISTINCT sample_id), sum(minutes)
        FROM label_studio_work
        GROUP BY dataset, who, CAST(submitted AS DATE)
        """,  # noqa: S608 (our own names)
    ),
    View(
        "agreement",
        "How alike graders score who saw the same samples, a row a pair. Intervals and alpha: trugrade data agreement.",
        columns("""
            dataset VARCHAR name of the dataset
            grader VARCHAR the one
            other VARCHAR the other
            samples BIGINT samples that both scored
            difference DOUBLE mean of the one's score less the other's, in grades
            mean_absolute DOUBLE mean distance of the scores, in grades
            within_half DOUBLE share of samples on which they are half a grade apart or less
            quadratic_kappa DOUBLE Cohen's kappa with quadratic weights; null where neither varies
        """),
        """
        WITH scores AS (
          SELECT dataset, sample_id, layer AS grader, TRY_CAST(value ->> '$.score' AS DOUBLE) AS score
          FROM annotations WHERE layer <> 'main' AND type = 'score'
        )
        SELECT a.dataset, a.grader, b.grader AS other, count(*) AS samples, avg(a.score - b.score) AS difference,
          avg(abs(a.score - b.score)) AS mean_absolute,
          avg(CASE WHEN abs(a.score - b.score) <= 0.5 THEN 1.0 ELSE 0.0 END) AS within_half,
          1 - avg((a.score - b.score) ** 2)
            / nullif(var_pop(a.score) + var_pop(b.score) + (avg(a.score) - avg(b.score)) ** 2, 0) AS quadratic_kappa
        FROM scores AS a JOIN scores AS b ON a.dataset = b.dataset AND a.sample_id = b.sample_id AND a.grader < b.grader
        GROUP BY a.dataset, a.grader, b.grader
        """,
    ),
    View(
        "datasets",
        "Datasets as they are now.",
        columns("""
            dataset VARCHAR name of the dataset
            created TIMESTAMP when it was made, UTC
            samples BIGINT number of samples
            cards BIGINT number of physical cards
            samples_done BIGINT samples that are labelled
            samples_synthetic BIGINT samples that were made, not scanned
            annotations BIGINT labels in layer main
            versions BIGINT number of versions
            newest_version VARCHAR newest version as NAME@V
            classes JSON ordered classes, id 1 first, each with its shape
        """),
        """
        SELECT d.dataset, d.created, coalesce(s.samples, 0) AS samples, coalesce(s.cards, 0) AS cards,
          coalesce(s.done, 0) AS samples_done, coalesce(s.synthetic, 0) AS samples_synthetic,
          coalesce(a.annotations, 0) AS annotations, coalesce(v.versions, 0) AS versions, v.newest AS newest_version, d.classes
        FROM dataset_files AS d
        LEFT JOIN (
          SELECT dataset, count(*) AS samples, count(DISTINCT card) AS cards, count(*) FILTER (status = 'done') AS done,
            count(*) FILTER (origin = 'synthetic') AS synthetic FROM samples GROUP BY dataset
        ) AS s ON s.dataset = d.dataset
        LEFT JOIN (
          SELECT dataset, count(*) AS annotations FROM annotations WHERE layer = 'main' GROUP BY dataset
        ) AS a ON a.dataset = d.dataset
        LEFT JOIN (
          SELECT dataset, count(*) AS versions, arg_max(dataset_version, CAST(substr(version, 2) AS BIGINT)) AS newest
          FROM dataset_versions GROUP BY dataset
        ) AS v ON v.dataset = d.dataset
        """,
    ),
    View(
        "experiments",
        "Trials of each experiment: runs, and what was recorded by hand.",
        columns("""
            experiment_id VARCHAR the experiment
            kind VARCHAR run or tracked
            run_id VARCHAR the run; null for a recorded trial
            logged TIMESTAMP when it was launched or recorded, UTC
            git_commit VARCHAR commit of the code
            config JSON configuration
            results JSON results
            model_checkpoints JSON checkpoints with their digests
        """),
        """
        SELECT r.experiment_id, 'run' AS kind, r.run_id, r.created AS logged, r.git_commit, r.config, r.result AS results,
          c.model_checkpoints
        FROM runs AS r LEFT JOIN (
          SELECT run_id, to_json(list({'run': run_id, 'name': name, 'digest': digest, 'step': step, 'epoch': epoch} ORDER BY name))
            AS model_checkpoints
          FROM checkpoints GROUP BY run_id
        ) AS c ON c.run_id = r.run_id
        UNION ALL
        SELECT experiment_id, 'tracked', NULL, logged, git_commit, config, results, model_checkpoints FROM tracked_experiments
        """,
    ),
    View(
        "best_runs",
        "The best run of each task on each dataset version, by the task's main metric on validation.",
        columns("""
            task VARCHAR what was learned
            dataset_version VARCHAR dataset and version as NAME@V
            run_id VARCHAR the best run
            architecture VARCHAR its architecture and variant
            main_metric VARCHAR metric that decides, in table metrics
            direction VARCHAR higher is better, or lower is better
            best_value DOUBLE its best validation value; unit as the name says
            best_step BIGINT step of that value
            test_value DOUBLE the same metric on split test, where it was evaluated
            test_low DOUBLE lower end of its 95 % interval
            test_high DOUBLE upper end of its 95 % interval
            runs BIGINT runs that were compared
        """),
        """
        SELECT r.task, r.dataset_version, r.run_id, r.architecture, r.main_metric,
          CASE WHEN r.higher_is_better THEN 'higher is better' ELSE 'lower is better' END AS direction,
          r.best_value, r.best_step, e.value AS test_value, e.low AS test_low, e.high AS test_high,
          count(*) OVER (PARTITION BY r.task, r.dataset_version) AS runs
        FROM runs AS r LEFT JOIN eval_metrics AS e
          ON e.run_id = r.run_id AND e.split = 'test' AND e.predictor = 'model' AND 'val/' || e.name = r.main_metric
        WHERE r.best_value IS NOT NULL AND r.state <> 'discarded'
        QUALIFY row_number() OVER (
          PARTITION BY r.task, r.dataset_version
          ORDER BY CASE WHEN r.higher_is_better THEN -r.best_value ELSE r.best_value END, r.run_id) = 1
        """,
    ),
    View(
        "lineage",
        "Where everything comes from, one row a step: image, sample, dataset version, run, checkpoint, artifact, evaluation.",
        columns("""
            from_kind VARCHAR image, sample, dataset_version, run or checkpoint
            from_id VARCHAR sha256 of an image or checkpoint, id of a sample or run, NAME@V of a version
            relation VARCHAR how the second came from the first
            to_kind VARCHAR sample, dataset_version, run, checkpoint, evaluation or export
            to_id VARCHAR id of the second; RUN/SPLIT for an evaluation
        """),
        """
        SELECT 'image' AS from_kind, image_sha256 AS from_id, 'is the main image of' AS relation, 'sample' AS to_kind,
          sample_id AS to_id FROM samples GROUP BY image_sha256, sample_id
        UNION ALL
        SELECT 'sample', sample_id, 'is in split ' || split || ' of', 'dataset_version', dataset_version FROM version_samples
        UNION ALL
        SELECT 'dataset_version', dataset_version, 'trained', 'run', run_id FROM runs WHERE dataset_version IS NOT NULL
        UNION ALL
        SELECT 'run', run_id, 'wrote ' || name, 'checkpoint', digest FROM checkpoints
        UNION ALL
        SELECT 'checkpoint', checkpoint_digest, 'was judged in', 'evaluation', run_id || '/' || split
          FROM eval_metrics WHERE checkpoint_digest IS NOT NULL GROUP BY checkpoint_digest, run_id, split
        UNION ALL
        SELECT 'dataset_version', dataset_version, 'was the ground of', 'evaluation', run_id || '/' || split
          FROM eval_metrics WHERE dataset_version IS NOT NULL GROUP BY dataset_version, run_id, split
        UNION ALL
        SELECT 'checkpoint', checkpoint_digest, 'was exported as', 'export', export_name
          FROM exports WHERE checkpoint_digest IS NOT NULL
        """,
    ),
)
