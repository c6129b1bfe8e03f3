"""The catalog's tables and views, once, as data: DDL, comments, dictionary and golden test are made from it.

A change of anything here is another `version()`; an older file is then made again from the workspace, so there are no
migrations. Times are UTC, without a zone in the type. Column names carry their unit. Views use only what DuckDB 1.4
parses: their SQL is stored as text.
"""

from __future__ import annotations

import hashlib

from trugrade_core.catalog.columns import Column, Table, columns
from trugrade_core.catalog.views import VIEWS

ROWS = 1
"""Raise it when the same files would give other rows."""

STORAGE = "v1.4.0"
"""DuckDB's file format: clients from 1.4 on open it, and a write-ahead log of another file is refused, not replayed."""


SOURCE = Column("source", "VARCHAR", "file in the workspace that the row was read from, relative to its folder")

TABLES = (
    Table(
        "runs",
        "Trainings, one row each: what was trained on what, how it went and where it ran.",
        columns("""
            run_id VARCHAR id of the run: YYYYMMDD-HHMMSS-xxxx
            title VARCHAR short description
            experiment_id VARCHAR experiment that the run belongs to
            task VARCHAR what was learned, such as border_detection.dual_class
            architecture VARCHAR architecture and variant
            dataset VARCHAR name of the dataset
            dataset_version VARCHAR dataset and version as NAME@V
            dataset_digest VARCHAR sha256 over the version's rows
            state VARCHAR queued, running, stopped, finished, failed, crashed or discarded
            reason VARCHAR why it is in that state
            failure VARCHAR class of failure where it failed: out of memory, non-finite, data, disk, killed, bug
            what_to_do VARCHAR next step after a failure
            created TIMESTAMP when it was launched, UTC
            started TIMESTAMP when it first ran, UTC
            ended TIMESTAMP when it entered its last state, UTC; null while queued or running
            duration_seconds DOUBLE from started to ended, or to the last event while it runs; pauses between attempts included
            attempts BIGINT 1, and one more for each resume
            last_step BIGINT last optimizer step that was reported
            last_epoch BIGINT last epoch that was reported
            main_metric VARCHAR name of the task's main metric in table metrics
            higher_is_better BOOLEAN direction of the main metric
            best_value DOUBLE best validation value of the main metric so far
            best_step BIGINT step of the best value
            device VARCHAR device that was asked for
            random_init BOOLEAN whether it started from random weights on purpose
            seed BIGINT seed of weights, order and augmentation
            who VARCHAR who launched it
            host VARCHAR machine it was launched on
            python VARCHAR Python version
            git_commit VARCHAR commit of the code
            git_dirty BOOLEAN whether the code had changes that were not committed (they are in changes.patch)
            config JSON every key of the configuration as it ran
            environment JSON packages, machine, threads
            result JSON what the run came to
        """),
    ),
    Table(
        "jobs",
        "Other long work: imports, evaluations, exports, synthesis, demos.",
        columns("""
            job_id VARCHAR id of the job
            kind VARCHAR what it does: import, synth, evaluate, predict, export, demo
            title VARCHAR short description
            state VARCHAR queued, running, stopped, finished, failed, crashed or discarded
            reason VARCHAR why it is in that state
            failure VARCHAR class of failure where it failed
            what_to_do VARCHAR next step after a failure
            created TIMESTAMP when it was launched, UTC
            started TIMESTAMP when it first ran, UTC
            ended TIMESTAMP when it entered its last state, UTC; null while queued or running
            duration_seconds DOUBLE from started to ended
            who VARCHAR who launched it
            arguments JSON what it was given
            result JSON what it came to
        """),
    ),
    Table(
        "run_params",
        "Configuration of each run, one row a key: what was asked, what was used and why.",
        (
            *columns("""
            run_id VARCHAR the run
            name VARCHAR dotted key, such as hyperparameters.optimization.learning_rate
            value VARCHAR value that was used, as text
            value_number DOUBLE the same as a number, where it is one
            asked VARCHAR value that was asked for, as text
            status VARCHAR used, adapted or refused
            reason VARCHAR why an adapted value differs
        """),
            SOURCE,
        ),
    ),
    Table(
        "run_events",
        "What happened in runs and jobs besides metrics: states, notes, adapted settings, checkpoints, resumes, results.",
        columns("""
            run_id VARCHAR the run or job
            position BIGINT place in the run's journal among these events, from 1
            logged TIMESTAMP when it was written, UTC
            attempt BIGINT attempt that wrote it, from 1
            kind VARCHAR state, note, adapted, checkpoint, resumed, result or validation
            step BIGINT optimizer step, where it has one
            epoch BIGINT epoch, where it has one
            state VARCHAR state that was entered, for kind state
            content JSON the whole event
        """),
    ),
    Table(
        "metrics_all",
        "Every number that any attempt of a run reported. View metrics shows the ones that count.",
        columns("""
            run_id VARCHAR the run
            attempt BIGINT attempt that reported it, from 1
            step BIGINT optimizer steps done
            epoch BIGINT epoch
            batch BIGINT batch within the epoch; null for validations
            name VARCHAR train/loss, train/<component>, val/loss, val/<metric>, lr, time/step_s, time/wait_share, time/images_per_s
            value DOUBLE the number; unit as the name says (mm for side errors, s for times, 1/s for rates)
            logged TIMESTAMP when it was reported, UTC
        """),
    ),
    Table(
        "resources",
        "What each run used of its machine, about once a second. Null where the machine cannot tell.",
        columns("""
            run_id VARCHAR the run or job
            logged TIMESTAMP when it was measured, UTC
            attempt BIGINT attempt, from 1
            cpu_run_percent DOUBLE CPU of the run's processes, percent of one core
            cpu_machine_percent DOUBLE CPU of the machine, percent of all cores
            memory_run_bytes DOUBLE memory of the run's processes, shared pages counted once, bytes
            memory_machine_used_bytes DOUBLE memory used on the machine, bytes
            memory_machine_percent DOUBLE memory used on the machine, percent
            disk_run_read_bytes_per_s DOUBLE bytes a second that the run read from disk
            disk_run_write_bytes_per_s DOUBLE bytes a second that the run wrote to disk
            disk_machine_read_bytes_per_s DOUBLE bytes a second that the machine read from disk
            disk_machine_write_bytes_per_s DOUBLE bytes a second that the machine wrote to disk
            network_machine_received_bytes_per_s DOUBLE bytes a second that the machine received
            network_machine_sent_bytes_per_s DOUBLE bytes a second that the machine sent
            gpu_percent DOUBLE mean utilisation of the GPUs, percent
            gpu_memory_used_bytes DOUBLE memory used on all GPUs, bytes
            gpu_memory_run_bytes DOUBLE GPU memory of the run's processes, bytes
            processes DOUBLE number of the run's processes
        """),
    ),
    Table(
        "eval_metrics",
        "Results of evaluations on a whole split, with intervals bootstrapped by card.",
        (
            *columns("""
            run_id VARCHAR the run
            split VARCHAR train, val or test
            predictor VARCHAR model, or baseline: the same box for every scan
            name VARCHAR side_error_mm, box_map, mask_map, f1, card_accuracy, ...; unit as the name says
            value DOUBLE the figure; null where it cannot be had
            low DOUBLE lower end of its 95 % interval
            high DOUBLE upper end of its 95 % interval
            n_cards BIGINT physical cards that it rests on
            reason VARCHAR why it has no value
            checkpoint_digest VARCHAR sha256 of the checkpoint that was judged
            dataset_version VARCHAR dataset and version as NAME@V
            evaluated TIMESTAMP when the evaluation was written, UTC
        """),
            SOURCE,
        ),
    ),
    Table(
        "checkpoints",
        "Checkpoint files that a run keeps: best and latest.",
        (
            *columns("""
            run_id VARCHAR the run
            name VARCHAR best or latest
            step BIGINT optimizer steps done
            epoch BIGINT epoch
            digest VARCHAR sha256 of the file
            size_bytes BIGINT size of the file, bytes
            metrics JSON validation metrics at that step
            saved TIMESTAMP when it was written, UTC
        """),
            SOURCE,
        ),
    ),
    Table(
        "exports",
        "Artifacts made from runs for use without the lab.",
        (
            *columns("""
            export_name VARCHAR name of the artifact: its folder under exports/
            format VARCHAR onnx
            run_id VARCHAR the run it was made from
            task VARCHAR what it does
            architecture VARCHAR architecture and variant
            dataset_version VARCHAR dataset and version of the run as NAME@V
            dataset_digest VARCHAR sha256 over the version's rows
            checkpoint_digest VARCHAR sha256 of the checkpoint it was made from
            digest VARCHAR sha256 of the artifact's file
            size_bytes BIGINT size of the artifact's file, bytes
            licence VARCHAR licence of the model's code
            created TIMESTAMP when it was made, UTC
            manifest JSON the whole manifest
        """),
            SOURCE,
        ),
    ),
    Table(
        "parity",
        "Comparison of each artifact with the model it was made from, on real validation samples.",
        (
            *columns("""
            export_name VARCHAR the artifact
            run_id VARCHAR the run it was made from
            passed BOOLEAN whether they agree within the tolerances
            compared BIGINT number of images compared
            worst JSON worst difference of each quantity; pixels for boxes, 0 to 1 for scores and masks
            report JSON the whole report
        """),
            SOURCE,
        ),
    ),
    Table(
        "dataset_files",
        "Datasets as their own files name them. View datasets adds the counts.",
        (
            *columns("""
            dataset VARCHAR name of the dataset
            created TIMESTAMP when it was made, UTC
            classes JSON ordered classes, id 1 first, each with its shape
        """),
            SOURCE,
        ),
    ),
    Table(
        "dataset_versions",
        "Immutable snapshots of datasets: what runs train on.",
        (
            *columns("""
            dataset_version VARCHAR dataset and version as NAME@V
            dataset VARCHAR name of the dataset
            version VARCHAR v1, v2, ...
            digest VARCHAR sha256 over its rows
            created TIMESTAMP when it was made, UTC
            classes JSON ordered classes, id 1 first
            samples BIGINT number of samples
            annotations BIGINT number of annotations
            train_samples BIGINT samples in split train
            val_samples BIGINT samples in split val
            test_samples BIGINT samples in split test
            train_cards BIGINT physical cards in split train
            val_cards BIGINT physical cards in split val
            test_cards BIGINT physical cards in split test
            seed BIGINT seed of the split
        """),
            SOURCE,
        ),
    ),
    Table(
        "version_samples",
        "Which samples each dataset version holds, and in which split.",
        (
            *columns("""
            dataset_version VARCHAR dataset and version as NAME@V
            sample_id VARCHAR the sample
            card VARCHAR physical card
            split VARCHAR train, val or test
            status VARCHAR unlabelled, done, skipped or rescan, as it was then
        """),
            SOURCE,
        ),
    ),
    Table(
        "version_annotations",
        "Labels as each dataset version froze them.",
        (
            *columns("""
            dataset_version VARCHAR dataset and version as NAME@V
            annotation_id VARCHAR the annotation
            sample_id VARCHAR the sample
            label VARCHAR class name; null for scores and tag sets
            type VARCHAR box, polygon, mask, tags or score
            value JSON the shape, pixels of the image after EXIF rotation, pixel centres at integers
        """),
            SOURCE,
        ),
    ),
    Table(
        "samples",
        "Things that can be judged, as they are now in each dataset; one row a sample and dataset.",
        columns("""
            dataset VARCHAR name of the dataset
            sample_id VARCHAR first 16 hex digits of the sha256 over its images
            card VARCHAR physical card it shows
            card_assumed BOOLEAN whether nobody said which card: each sample then counts as its own
            design VARCHAR design of the card
            session VARCHAR scan session
            side VARCHAR front or back
            origin VARCHAR real or synthetic
            status VARCHAR unlabelled, done, skipped or rescan
            split VARCHAR train, val or test, as of now
            dpi DOUBLE dots per inch, given or read from the file
            width_px BIGINT width of the main image after EXIF rotation, pixels
            height_px BIGINT height of the main image after EXIF rotation, pixels
            bits BIGINT bits a channel
            image_sha256 VARCHAR sha256 of the main image's bytes
            image_bytes BIGINT size of the main image's file, bytes
            images JSON all images by role
            files JSON names it was imported under
            position BIGINT place in the dataset's journal, from 1
        """),
    ),
    Table(
        "annotation_log",
        "Every change anybody made to a label. View annotations shows what holds now.",
        columns("""
            dataset VARCHAR name of the dataset
            position BIGINT place in the dataset's log, from 1
            entry VARCHAR id of the log entry
            annotation_id VARCHAR the annotation
            sample_id VARCHAR the sample
            layer VARCHAR main, or a grader's name for blind votes
            op VARCHAR put or delete
            replaces VARCHAR log entry that this one replaces
            label VARCHAR class name; null for scores and tag sets
            type VARCHAR box, polygon, mask, tags, score, or status: what was said of the sample as a whole
            value JSON the shape, pixels of the image after EXIF rotation, pixel centres at integers
            attributes JSON free attributes
            who VARCHAR who did it
            logged TIMESTAMP when it was done, UTC
            tool VARCHAR with what: importer, canvas, Label Studio
            suggested_by VARCHAR model that suggested it
        """),
    ),
    Table(
        "predictions",
        "What models said on evaluated splits: one row for each instance found, and one for each image with none.",
        (
            *columns("""
            run_id VARCHAR the run
            split VARCHAR train, val or test
            variant VARCHAR plain, or shifted: the same scans laid into a larger picture
            sample_id VARCHAR the sample
            instance BIGINT 0 is the most certain one; null where nothing was found
            label VARCHAR class name
            score DOUBLE confidence, 0 to 1; doubtful ones are kept too
            x0_px DOUBLE left edge of the box, pixels of the picture that was shown, pixel centres at integers
            y0_px DOUBLE upper edge, pixels
            x1_px DOUBLE right edge, pixels
            y1_px DOUBLE lower edge, pixels
            width_px BIGINT width of the picture that was shown, pixels
            height_px BIGINT height of the picture that was shown, pixels
            seconds DOUBLE time from pixels to instances, of the whole picture, seconds
        """),
            SOURCE,
        ),
    ),
    Table(
        "eval_objects",
        "True objects of evaluated splits and how well each was found, at the evaluation's threshold.",
        (
            *columns("""
            run_id VARCHAR the run
            split VARCHAR train, val or test
            variant VARCHAR plain, or shifted: the same scans laid into a larger picture
            sample_id VARCHAR the sample
            label VARCHAR class name
            score DOUBLE confidence of its match; null where it was missed
            left_error_px DOUBLE found minus true left side, pixels; the image's width where it was missed
            top_error_px DOUBLE found minus true upper side, pixels
            right_error_px DOUBLE found minus true right side, pixels
            bottom_error_px DOUBLE found minus true lower side, pixels
            side_error_px DOUBLE mean size of the four errors, pixels
            side_error_mm DOUBLE mean size of the four errors, millimetres; null where the scale is not known
            mm_per_px DOUBLE scale, millimetres a pixel
            missed BOOLEAN whether no other kind of error accounts for it being missed
        """),
            SOURCE,
        ),
    ),
    Table(
        "tracked_experiments",
        "Trials recorded by ExperimentTracker.track_experiment. View experiments shows them beside the runs.",
        (
            *columns("""
            experiment_id VARCHAR the experiment
            logged TIMESTAMP when it was recorded, UTC
            git_commit VARCHAR commit of the code
            config JSON configuration that was recorded
            results JSON results that were recorded
            model_checkpoints JSON checkpoints with their digests
        """),
            SOURCE,
        ),
    ),
    Table(
        "findings",
        "What the last check of each dataset and version found. What people let stand since: trugrade data check NAME.",
        (
            *columns("""
            dataset VARCHAR name of the dataset
            subject VARCHAR what was checked: NAME as it was then, or NAME@V
            task VARCHAR what it was held against; null where nobody has said
            check_name VARCHAR label_consistency, class_balance, image_quality, annotation_coverage or format_validation
            code VARCHAR kind of finding
            severity VARCHAR info, warning or error
            samples BIGINT samples concerned
            sample_ids JSON their ids
            why VARCHAR what was found
            action VARCHAR what to do
            logged TIMESTAMP when it was checked, UTC
        """),
            SOURCE,
        ),
    ),
    Table(
        "label_studio_work",
        "Annotations that were pulled from Label Studio: by whom, when and in how long. What they say is in annotation_log.",
        (
            *columns("""
            dataset VARCHAR name of the dataset
            sample_id VARCHAR sample that was annotated
            task_id BIGINT Label Studio's task
            who VARCHAR the person, by the lab's name
            submitted TIMESTAMP when it was last submitted there, UTC
            minutes DOUBLE how long it was open there, as Label Studio counts it
        """),
            SOURCE,
        ),
    ),
    Table(
        "tasks",
        "What this lab can learn, with the metric that decides.",
        columns("""
            task VARCHAR id of the task
            category VARCHAR first part of the id
            kind VARCHAR how it is learned
            title VARCHAR plain words
            main_metric VARCHAR metric that decides which run is best
            higher_is_better BOOLEAN its direction
        """),
    ),
    Table(
        "problems",
        "Files that could not be read and are missing from the other tables.",
        (
            *columns("""
            what VARCHAR what is wrong
            seen TIMESTAMP when it was found, UTC
        """),
            SOURCE,
        ),
    ),
    Table(
        "catalog_info",
        "One row: what this file is.",
        columns("""
            schema_version VARCHAR version of these tables and of what is put into them
            published TIMESTAMP when this file was published, UTC
        """),
    ),
    Table(
        "catalog_journals",
        "How much of each journal is in here; for the program that publishes this file.",
        columns("""
            path VARCHAR journal in the workspace
            folded_bytes BIGINT bytes that have been read
            tail_sha256 VARCHAR digest of the last of them: another journal of this name has another
        """),
    ),
    Table(
        "catalog_sources",
        "Which state of each file is in here; for the program that publishes this file.",
        columns("""
            path VARCHAR file in the workspace
            fingerprint VARCHAR size and time of it and the files that belong to it
        """),
    ),
)

TABLE = {table.name: table for table in TABLES}


def ddl() -> list[str]:
    """The statements that make an empty catalog."""
    found: list[str] = []
    for table in TABLES:
        body = ",\n".join(f"  {column.name} {column.type}" for column in table.columns)
        found.append(f"CREATE TABLE {table.name} (\n{body}\n)")
        found += _comments("TABLE", table.name, table.comment, table.columns)
    for view in VIEWS:
        found.append(f"CREATE VIEW {view.name} AS {' '.join(view.sql.split())}")
        found += _comments("VIEW", view.name, view.comment, view.columns)
    return found


def _comments(what: str, name: str, comment: str, columns: tuple[Column, ...]) -> list[str]:
    found = [f"COMMENT ON {what} {name} IS {_quoted(comment)}"]
    return found + [f"COMMENT ON COLUMN {name}.{column.name} IS {_quoted(column.comment)}" for column in columns]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def as_text() -> str:
    """The schema as SQL: what the golden test compares."""
    return f"-- storage {STORAGE}, rows {ROWS}\n" + "".join(f"{statement};\n" for statement in ddl())


def version() -> str:
    return hashlib.sha256(as_text().encode()).hexdigest()[:16]
