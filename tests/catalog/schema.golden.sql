-- storage v1.4.0, rows 1
CREATE TABLE runs (
  run_id VARCHAR,
  title VARCHAR,
  experiment_id VARCHAR,
  task VARCHAR,
  architecture VARCHAR,
  dataset VARCHAR,
  dataset_version VARCHAR,
  dataset_digest VARCHAR,
  state VARCHAR,
  reason VARCHAR,
  failure VARCHAR,
  what_to_do VARCHAR,
  created TIMESTAMP,
  started TIMESTAMP,
  ended TIMESTAMP,
  duration_seconds DOUBLE,
  attempts BIGINT,
  last_step BIGINT,
  last_epoch BIGINT,
  main_metric VARCHAR,
  higher_is_better BOOLEAN,
  best_value DOUBLE,
  best_step BIGINT,
  device VARCHAR,
  random_init BOOLEAN,
  seed BIGINT,
  who VARCHAR,
  host VARCHAR,
  python VARCHAR,
  git_commit VARCHAR,
  git_dirty BOOLEAN,
  config JSON,
  environment JSON,
  result JSON
);
COMMENT ON TABLE runs IS 'Trainings, one row each: what was trained on what, how it went and where it ran.';
COMMENT ON COLUMN runs.run_id IS 'id of the run: YYYYMMDD-HHMMSS-xxxx';
COMMENT ON COLUMN runs.title IS 'short description';
COMMENT ON COLUMN runs.experiment_id IS 'experiment that the run belongs to';
COMMENT ON COLUMN runs.task IS 'what was learned, such as border_detection.dual_class';
COMMENT ON COLUMN runs.architecture IS 'architecture and variant';
COMMENT ON COLUMN runs.dataset IS 'name of the dataset';
COMMENT ON COLUMN runs.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN runs.dataset_digest IS 'sha256 over the version''s rows';
COMMENT ON COLUMN runs.state IS 'queued, running, stopped, finished, failed, crashed or discarded';
COMMENT ON COLUMN runs.reason IS 'why it is in that state';
COMMENT ON COLUMN runs.failure IS 'class of failure where it failed: out of memory, non-finite, data, disk, killed, bug';
COMMENT ON COLUMN runs.what_to_do IS 'next step after a failure';
COMMENT ON COLUMN runs.created IS 'when it was launched, UTC';
COMMENT ON COLUMN runs.started IS 'when it first ran, UTC';
COMMENT ON COLUMN runs.ended IS 'when it entered its last state, UTC; null while queued or running';
COMMENT ON COLUMN runs.duration_seconds IS 'from started to ended, or to the last event while it runs; pauses between attempts included';
COMMENT ON COLUMN runs.attempts IS '1, and one more for each resume';
COMMENT ON COLUMN runs.last_step IS 'last optimizer step that was reported';
COMMENT ON COLUMN runs.last_epoch IS 'last epoch that was reported';
COMMENT ON COLUMN runs.main_metric IS 'name of the task''s main metric in table metrics';
COMMENT ON COLUMN runs.higher_is_better IS 'direction of the main metric';
COMMENT ON COLUMN runs.best_value IS 'best validation value of the main metric so far';
COMMENT ON COLUMN runs.best_step IS 'step of the best value';
COMMENT ON COLUMN runs.device IS 'device that was asked for';
COMMENT ON COLUMN runs.random_init IS 'whether it started from random weights on purpose';
COMMENT ON COLUMN runs.seed IS 'seed of weights, order and augmentation';
COMMENT ON COLUMN runs.who IS 'who launched it';
COMMENT ON COLUMN runs.host IS 'machine it was launched on';
COMMENT ON COLUMN runs.python IS 'Python version';
COMMENT ON COLUMN runs.git_commit IS 'commit of the code';
COMMENT ON COLUMN runs.git_dirty IS 'whether the code had changes that were not committed (they are in changes.patch)';
COMMENT ON COLUMN runs.config IS 'every key of the configuration as it ran';
COMMENT ON COLUMN runs.environment IS 'packages, machine, threads';
COMMENT ON COLUMN runs.result IS 'what the run came to';
CREATE TABLE jobs (
  job_id VARCHAR,
  kind VARCHAR,
  title VARCHAR,
  state VARCHAR,
  reason VARCHAR,
  failure VARCHAR,
  what_to_do VARCHAR,
  created TIMESTAMP,
  started TIMESTAMP,
  ended TIMESTAMP,
  duration_seconds DOUBLE,
  who VARCHAR,
  arguments JSON,
  result JSON
);
COMMENT ON TABLE jobs IS 'Other long work: imports, evaluations, exports, synthesis, demos.';
COMMENT ON COLUMN jobs.job_id IS 'id of the job';
COMMENT ON COLUMN jobs.kind IS 'what it does: import, synth, evaluate, predict, export, demo';
COMMENT ON COLUMN jobs.title IS 'short description';
COMMENT ON COLUMN jobs.state IS 'queued, running, stopped, finished, failed, crashed or discarded';
COMMENT ON COLUMN jobs.reason IS 'why it is in that state';
COMMENT ON COLUMN jobs.failure IS 'class of failure where it failed';
COMMENT ON COLUMN jobs.what_to_do IS 'next step after a failure';
COMMENT ON COLUMN jobs.created IS 'when it was launched, UTC';
COMMENT ON COLUMN jobs.started IS 'when it first ran, UTC';
COMMENT ON COLUMN jobs.ended IS 'when it entered its last state, UTC; null while queued or running';
COMMENT ON COLUMN jobs.duration_seconds IS 'from started to ended';
COMMENT ON COLUMN jobs.who IS 'who launched it';
COMMENT ON COLUMN jobs.arguments IS 'what it was given';
COMMENT ON COLUMN jobs.result IS 'what it came to';
CREATE TABLE run_params (
  run_id VARCHAR,
  name VARCHAR,
  value VARCHAR,
  value_number DOUBLE,
  asked VARCHAR,
  status VARCHAR,
  reason VARCHAR,
  source VARCHAR
);
COMMENT ON TABLE run_params IS 'Configuration of each run, one row a key: what was asked, what was used and why.';
COMMENT ON COLUMN run_params.run_id IS 'the run';
COMMENT ON COLUMN run_params.name IS 'dotted key, such as hyperparameters.optimization.learning_rate';
COMMENT ON COLUMN run_params.value IS 'value that was used, as text';
COMMENT ON COLUMN run_params.value_number IS 'the same as a number, where it is one';
COMMENT ON COLUMN run_params.asked IS 'value that was asked for, as text';
COMMENT ON COLUMN run_params.status IS 'used, adapted or refused';
COMMENT ON COLUMN run_params.reason IS 'why an adapted value differs';
COMMENT ON COLUMN run_params.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE run_events (
  run_id VARCHAR,
  position BIGINT,
  logged TIMESTAMP,
  attempt BIGINT,
  kind VARCHAR,
  step BIGINT,
  epoch BIGINT,
  state VARCHAR,
  content JSON
);
COMMENT ON TABLE run_events IS 'What happened in runs and jobs besides metrics: states, notes, adapted settings, checkpoints, resumes, results.';
COMMENT ON COLUMN run_events.run_id IS 'the run or job';
COMMENT ON COLUMN run_events.position IS 'place in the run''s journal among these events, from 1';
COMMENT ON COLUMN run_events.logged IS 'when it was written, UTC';
COMMENT ON COLUMN run_events.attempt IS 'attempt that wrote it, from 1';
COMMENT ON COLUMN run_events.kind IS 'state, note, adapted, checkpoint, resumed, result or validation';
COMMENT ON COLUMN run_events.step IS 'optimizer step, where it has one';
COMMENT ON COLUMN run_events.epoch IS 'epoch, where it has one';
COMMENT ON COLUMN run_events.state IS 'state that was entered, for kind state';
COMMENT ON COLUMN run_events.content IS 'the whole event';
CREATE TABLE metrics_all (
  run_id VARCHAR,
  attempt BIGINT,
  step BIGINT,
  epoch BIGINT,
  batch BIGINT,
  name VARCHAR,
  value DOUBLE,
  logged TIMESTAMP
);
COMMENT ON TABLE metrics_all IS 'Every number that any attempt of a run reported. View metrics shows the ones that count.';
COMMENT ON COLUMN metrics_all.run_id IS 'the run';
COMMENT ON COLUMN metrics_all.attempt IS 'attempt that reported it, from 1';
COMMENT ON COLUMN metrics_all.step IS 'optimizer steps done';
COMMENT ON COLUMN metrics_all.epoch IS 'epoch';
COMMENT ON COLUMN metrics_all.batch IS 'batch within the epoch; null for validations';
COMMENT ON COLUMN metrics_all.name IS 'train/loss, train/<component>, val/loss, val/<metric>, lr, time/step_s, time/wait_share, time/images_per_s';
COMMENT ON COLUMN metrics_all.value IS 'the number; unit as the name says (mm for side errors, s for times, 1/s for rates)';
COMMENT ON COLUMN metrics_all.logged IS 'when it was reported, UTC';
CREATE TABLE resources (
  run_id VARCHAR,
  logged TIMESTAMP,
  attempt BIGINT,
  cpu_run_percent DOUBLE,
  cpu_machine_percent DOUBLE,
  memory_run_bytes DOUBLE,
  memory_machine_used_bytes DOUBLE,
  memory_machine_percent DOUBLE,
  disk_run_read_bytes_per_s DOUBLE,
  disk_run_write_bytes_per_s DOUBLE,
  disk_machine_read_bytes_per_s DOUBLE,
  disk_machine_write_bytes_per_s DOUBLE,
  network_machine_received_bytes_per_s DOUBLE,
  network_machine_sent_bytes_per_s DOUBLE,
  gpu_percent DOUBLE,
  gpu_memory_used_bytes DOUBLE,
  gpu_memory_run_bytes DOUBLE,
  processes DOUBLE
);
COMMENT ON TABLE resources IS 'What each run used of its machine, about once a second. Null where the machine cannot tell.';
COMMENT ON COLUMN resources.run_id IS 'the run or job';
COMMENT ON COLUMN resources.logged IS 'when it was measured, UTC';
COMMENT ON COLUMN resources.attempt IS 'attempt, from 1';
COMMENT ON COLUMN resources.cpu_run_percent IS 'CPU of the run''s processes, percent of one core';
COMMENT ON COLUMN resources.cpu_machine_percent IS 'CPU of the machine, percent of all cores';
COMMENT ON COLUMN resources.memory_run_bytes IS 'memory of the run''s processes, shared pages counted once, bytes';
COMMENT ON COLUMN resources.memory_machine_used_bytes IS 'memory used on the machine, bytes';
COMMENT ON COLUMN resources.memory_machine_percent IS 'memory used on the machine, percent';
COMMENT ON COLUMN resources.disk_run_read_bytes_per_s IS 'bytes a second that the run read from disk';
COMMENT ON COLUMN resources.disk_run_write_bytes_per_s IS 'bytes a second that the run wrote to disk';
COMMENT ON COLUMN resources.disk_machine_read_bytes_per_s IS 'bytes a second that the machine read from disk';
COMMENT ON COLUMN resources.disk_machine_write_bytes_per_s IS 'bytes a second that the machine wrote to disk';
COMMENT ON COLUMN resources.network_machine_received_bytes_per_s IS 'bytes a second that the machine received';
COMMENT ON COLUMN resources.network_machine_sent_bytes_per_s IS 'bytes a second that the machine sent';
COMMENT ON COLUMN resources.gpu_percent IS 'mean utilisation of the GPUs, percent';
COMMENT ON COLUMN resources.gpu_memory_used_bytes IS 'memory used on all GPUs, bytes';
COMMENT ON COLUMN resources.gpu_memory_run_bytes IS 'GPU memory of the run''s processes, bytes';
COMMENT ON COLUMN resources.processes IS 'number of the run''s processes';
CREATE TABLE eval_metrics (
  run_id VARCHAR,
  split VARCHAR,
  predictor VARCHAR,
  name VARCHAR,
  value DOUBLE,
  low DOUBLE,
  high DOUBLE,
  n_cards BIGINT,
  reason VARCHAR,
  checkpoint_digest VARCHAR,
  dataset_version VARCHAR,
  evaluated TIMESTAMP,
  source VARCHAR
);
COMMENT ON TABLE eval_metrics IS 'Results of evaluations on a whole split, with intervals bootstrapped by card.';
COMMENT ON COLUMN eval_metrics.run_id IS 'the run';
COMMENT ON COLUMN eval_metrics.split IS 'train, val or test';
COMMENT ON COLUMN eval_metrics.predictor IS 'model, or baseline: the same box for every scan';
COMMENT ON COLUMN eval_metrics.name IS 'side_error_mm, box_map, mask_map, f1, card_accuracy, ...; unit as the name says';
COMMENT ON COLUMN eval_metrics.value IS 'the figure; null where it cannot be had';
COMMENT ON COLUMN eval_metrics.low IS 'lower end of its 95 % interval';
COMMENT ON COLUMN eval_metrics.high IS 'upper end of its 95 % interval';
COMMENT ON COLUMN eval_metrics.n_cards IS 'physical cards that it rests on';
COMMENT ON COLUMN eval_metrics.reason IS 'why it has no value';
COMMENT ON COLUMN eval_metrics.checkpoint_digest IS 'sha256 of the checkpoint that was judged';
COMMENT ON COLUMN eval_metrics.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN eval_metrics.evaluated IS 'when the evaluation was written, UTC';
COMMENT ON COLUMN eval_metrics.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE checkpoints (
  run_id VARCHAR,
  name VARCHAR,
  step BIGINT,
  epoch BIGINT,
  digest VARCHAR,
  size_bytes BIGINT,
  metrics JSON,
  saved TIMESTAMP,
  source VARCHAR
);
COMMENT ON TABLE checkpoints IS 'Checkpoint files that a run keeps: best and latest.';
COMMENT ON COLUMN checkpoints.run_id IS 'the run';
COMMENT ON COLUMN checkpoints.name IS 'best or latest';
COMMENT ON COLUMN checkpoints.step IS 'optimizer steps done';
COMMENT ON COLUMN checkpoints.epoch IS 'epoch';
COMMENT ON COLUMN checkpoints.digest IS 'sha256 of the file';
COMMENT ON COLUMN checkpoints.size_bytes IS 'size of the file, bytes';
COMMENT ON COLUMN checkpoints.metrics IS 'validation metrics at that step';
COMMENT ON COLUMN checkpoints.saved IS 'when it was written, UTC';
COMMENT ON COLUMN checkpoints.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE exports (
  export_name VARCHAR,
  format VARCHAR,
  run_id VARCHAR,
  task VARCHAR,
  architecture VARCHAR,
  dataset_version VARCHAR,
  dataset_digest VARCHAR,
  checkpoint_digest VARCHAR,
  digest VARCHAR,
  size_bytes BIGINT,
  licence VARCHAR,
  created TIMESTAMP,
  manifest JSON,
  source VARCHAR
);
COMMENT ON TABLE exports IS 'Artifacts made from runs for use without the lab.';
COMMENT ON COLUMN exports.export_name IS 'name of the artifact: its folder under exports/';
COMMENT ON COLUMN exports.format IS 'onnx';
COMMENT ON COLUMN exports.run_id IS 'the run it was made from';
COMMENT ON COLUMN exports.task IS 'what it does';
COMMENT ON COLUMN exports.architecture IS 'architecture and variant';
COMMENT ON COLUMN exports.dataset_version IS 'dataset and version of the run as NAME@V';
COMMENT ON COLUMN exports.dataset_digest IS 'sha256 over the version''s rows';
COMMENT ON COLUMN exports.checkpoint_digest IS 'sha256 of the checkpoint it was made from';
COMMENT ON COLUMN exports.digest IS 'sha256 of the artifact''s file';
COMMENT ON COLUMN exports.size_bytes IS 'size of the artifact''s file, bytes';
COMMENT ON COLUMN exports.licence IS 'licence of the model''s code';
COMMENT ON COLUMN exports.created IS 'when it was made, UTC';
COMMENT ON COLUMN exports.manifest IS 'the whole manifest';
COMMENT ON COLUMN exports.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE parity (
  export_name VARCHAR,
  run_id VARCHAR,
  passed BOOLEAN,
  compared BIGINT,
  worst JSON,
  report JSON,
  source VARCHAR
);
COMMENT ON TABLE parity IS 'Comparison of each artifact with the model it was made from, on real validation samples.';
COMMENT ON COLUMN parity.export_name IS 'the artifact';
COMMENT ON COLUMN parity.run_id IS 'the run it was made from';
COMMENT ON COLUMN parity.passed IS 'whether they agree within the tolerances';
COMMENT ON COLUMN parity.compared IS 'number of images compared';
COMMENT ON COLUMN parity.worst IS 'worst difference of each quantity; pixels for boxes, 0 to 1 for scores and masks';
COMMENT ON COLUMN parity.report IS 'the whole report';
COMMENT ON COLUMN parity.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE dataset_files (
  dataset VARCHAR,
  created TIMESTAMP,
  classes JSON,
  source VARCHAR
);
COMMENT ON TABLE dataset_files IS 'Datasets as their own files name them. View datasets adds the counts.';
COMMENT ON COLUMN dataset_files.dataset IS 'name of the dataset';
COMMENT ON COLUMN dataset_files.created IS 'when it was made, UTC';
COMMENT ON COLUMN dataset_files.classes IS 'ordered classes, id 1 first, each with its shape';
COMMENT ON COLUMN dataset_files.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE dataset_versions (
  dataset_version VARCHAR,
  dataset VARCHAR,
  version VARCHAR,
  digest VARCHAR,
  created TIMESTAMP,
  classes JSON,
  samples BIGINT,
  annotations BIGINT,
  train_samples BIGINT,
  val_samples BIGINT,
  test_samples BIGINT,
  train_cards BIGINT,
  val_cards BIGINT,
  test_cards BIGINT,
  seed BIGINT,
  source VARCHAR
);
COMMENT ON TABLE dataset_versions IS 'Immutable snapshots of datasets: what runs train on.';
COMMENT ON COLUMN dataset_versions.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN dataset_versions.dataset IS 'name of the dataset';
COMMENT ON COLUMN dataset_versions.version IS 'v1, v2, ...';
COMMENT ON COLUMN dataset_versions.digest IS 'sha256 over its rows';
COMMENT ON COLUMN dataset_versions.created IS 'when it was made, UTC';
COMMENT ON COLUMN dataset_versions.classes IS 'ordered classes, id 1 first';
COMMENT ON COLUMN dataset_versions.samples IS 'number of samples';
COMMENT ON COLUMN dataset_versions.annotations IS 'number of annotations';
COMMENT ON COLUMN dataset_versions.train_samples IS 'samples in split train';
COMMENT ON COLUMN dataset_versions.val_samples IS 'samples in split val';
COMMENT ON COLUMN dataset_versions.test_samples IS 'samples in split test';
COMMENT ON COLUMN dataset_versions.train_cards IS 'physical cards in split train';
COMMENT ON COLUMN dataset_versions.val_cards IS 'physical cards in split val';
COMMENT ON COLUMN dataset_versions.test_cards IS 'physical cards in split test';
COMMENT ON COLUMN dataset_versions.seed IS 'seed of the split';
COMMENT ON COLUMN dataset_versions.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE version_samples (
  dataset_version VARCHAR,
  sample_id VARCHAR,
  card VARCHAR,
  split VARCHAR,
  status VARCHAR,
  source VARCHAR
);
COMMENT ON TABLE version_samples IS 'Which samples each dataset version holds, and in which split.';
COMMENT ON COLUMN version_samples.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN version_samples.sample_id IS 'the sample';
COMMENT ON COLUMN version_samples.card IS 'physical card';
COMMENT ON COLUMN version_samples.split IS 'train, val or test';
COMMENT ON COLUMN version_samples.status IS 'unlabelled, done, skipped or rescan, as it was then';
COMMENT ON COLUMN version_samples.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE version_annotations (
  dataset_version VARCHAR,
  annotation_id VARCHAR,
  sample_id VARCHAR,
  label VARCHAR,
  type VARCHAR,
  value JSON,
  source VARCHAR
);
COMMENT ON TABLE version_annotations IS 'Labels as each dataset version froze them.';
COMMENT ON COLUMN version_annotations.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN version_annotations.annotation_id IS 'the annotation';
COMMENT ON COLUMN version_annotations.sample_id IS 'the sample';
COMMENT ON COLUMN version_annotations.label IS 'class name; null for scores and tag sets';
COMMENT ON COLUMN version_annotations.type IS 'box, polygon, mask, tags or score';
COMMENT ON COLUMN version_annotations.value IS 'the shape, pixels of the image after EXIF rotation, pixel centres at integers';
COMMENT ON COLUMN version_annotations.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE samples (
  dataset VARCHAR,
  sample_id VARCHAR,
  card VARCHAR,
  card_assumed BOOLEAN,
  design VARCHAR,
  session VARCHAR,
  side VARCHAR,
  origin VARCHAR,
  status VARCHAR,
  split VARCHAR,
  dpi DOUBLE,
  width_px BIGINT,
  height_px BIGINT,
  bits BIGINT,
  image_sha256 VARCHAR,
  image_bytes BIGINT,
  images JSON,
  files JSON,
  position BIGINT
);
COMMENT ON TABLE samples IS 'Things that can be judged, as they are now in each dataset; one row a sample and dataset.';
COMMENT ON COLUMN samples.dataset IS 'name of the dataset';
COMMENT ON COLUMN samples.sample_id IS 'first 16 hex digits of the sha256 over its images';
COMMENT ON COLUMN samples.card IS 'physical card it shows';
COMMENT ON COLUMN samples.card_assumed IS 'whether nobody said which card: each sample then counts as its own';
COMMENT ON COLUMN samples.design IS 'design of the card';
COMMENT ON COLUMN samples.session IS 'scan session';
COMMENT ON COLUMN samples.side IS 'front or back';
COMMENT ON COLUMN samples.origin IS 'real or synthetic';
COMMENT ON COLUMN samples.status IS 'unlabelled, done, skipped or rescan';
COMMENT ON COLUMN samples.split IS 'train, val or test, as of now';
COMMENT ON COLUMN samples.dpi IS 'dots per inch, given or read from the file';
COMMENT ON COLUMN samples.width_px IS 'width of the main image after EXIF rotation, pixels';
COMMENT ON COLUMN samples.height_px IS 'height of the main image after EXIF rotation, pixels';
COMMENT ON COLUMN samples.bits IS 'bits a channel';
COMMENT ON COLUMN samples.image_sha256 IS 'sha256 of the main image''s bytes';
COMMENT ON COLUMN samples.image_bytes IS 'size of the main image''s file, bytes';
COMMENT ON COLUMN samples.images IS 'all images by role';
COMMENT ON COLUMN samples.files IS 'names it was imported under';
COMMENT ON COLUMN samples.position IS 'place in the dataset''s journal, from 1';
CREATE TABLE annotation_log (
  dataset VARCHAR,
  position BIGINT,
  entry VARCHAR,
  annotation_id VARCHAR,
  sample_id VARCHAR,
  layer VARCHAR,
  op VARCHAR,
  replaces VARCHAR,
  label VARCHAR,
  type VARCHAR,
  value JSON,
  attributes JSON,
  who VARCHAR,
  logged TIMESTAMP,
  tool VARCHAR,
  suggested_by VARCHAR
);
COMMENT ON TABLE annotation_log IS 'Every change anybody made to a label. View annotations shows what holds now.';
COMMENT ON COLUMN annotation_log.dataset IS 'name of the dataset';
COMMENT ON COLUMN annotation_log.position IS 'place in the dataset''s log, from 1';
COMMENT ON COLUMN annotation_log.entry IS 'id of the log entry';
COMMENT ON COLUMN annotation_log.annotation_id IS 'the annotation';
COMMENT ON COLUMN annotation_log.sample_id IS 'the sample';
COMMENT ON COLUMN annotation_log.layer IS 'main, or a grader''s name for blind votes';
COMMENT ON COLUMN annotation_log.op IS 'put or delete';
COMMENT ON COLUMN annotation_log.replaces IS 'log entry that this one replaces';
COMMENT ON COLUMN annotation_log.label IS 'class name; null for scores and tag sets';
COMMENT ON COLUMN annotation_log.type IS 'box, polygon, mask, tags, score, or status: what was said of the sample as a whole';
COMMENT ON COLUMN annotation_log.value IS 'the shape, pixels of the image after EXIF rotation, pixel centres at integers';
COMMENT ON COLUMN annotation_log.attributes IS 'free attributes';
COMMENT ON COLUMN annotation_log.who IS 'who did it';
COMMENT ON COLUMN annotation_log.logged IS 'when it was done, UTC';
COMMENT ON COLUMN annotation_log.tool IS 'with what: importer, canvas, Label Studio';
COMMENT ON COLUMN annotation_log.suggested_by IS 'model that suggested it';
CREATE TABLE predictions (
  run_id VARCHAR,
  split VARCHAR,
  variant VARCHAR,
  sample_id VARCHAR,
  instance BIGINT,
  label VARCHAR,
  score DOUBLE,
  x0_px DOUBLE,
  y0_px DOUBLE,
  x1_px DOUBLE,
  y1_px DOUBLE,
  width_px BIGINT,
  height_px BIGINT,
  seconds DOUBLE,
  source VARCHAR
);
COMMENT ON TABLE predictions IS 'What models said on evaluated splits: one row for each instance found, and one for each image with none.';
COMMENT ON COLUMN predictions.run_id IS 'the run';
COMMENT ON COLUMN predictions.split IS 'train, val or test';
COMMENT ON COLUMN predictions.variant IS 'plain, or shifted: the same scans laid into a larger picture';
COMMENT ON COLUMN predictions.sample_id IS 'the sample';
COMMENT ON COLUMN predictions.instance IS '0 is the most certain one; null where nothing was found';
COMMENT ON COLUMN predictions.label IS 'class name';
COMMENT ON COLUMN predictions.score IS 'confidence, 0 to 1; doubtful ones are kept too';
COMMENT ON COLUMN predictions.x0_px IS 'left edge of the box, pixels of the picture that was shown, pixel centres at integers';
COMMENT ON COLUMN predictions.y0_px IS 'upper edge, pixels';
COMMENT ON COLUMN predictions.x1_px IS 'right edge, pixels';
COMMENT ON COLUMN predictions.y1_px IS 'lower edge, pixels';
COMMENT ON COLUMN predictions.width_px IS 'width of the picture that was shown, pixels';
COMMENT ON COLUMN predictions.height_px IS 'height of the picture that was shown, pixels';
COMMENT ON COLUMN predictions.seconds IS 'time from pixels to instances, of the whole picture, seconds';
COMMENT ON COLUMN predictions.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE eval_objects (
  run_id VARCHAR,
  split VARCHAR,
  variant VARCHAR,
  sample_id VARCHAR,
  label VARCHAR,
  score DOUBLE,
  left_error_px DOUBLE,
  top_error_px DOUBLE,
  right_error_px DOUBLE,
  bottom_error_px DOUBLE,
  side_error_px DOUBLE,
  side_error_mm DOUBLE,
  mm_per_px DOUBLE,
  missed BOOLEAN,
  source VARCHAR
);
COMMENT ON TABLE eval_objects IS 'True objects of evaluated splits and how well each was found, at the evaluation''s threshold.';
COMMENT ON COLUMN eval_objects.run_id IS 'the run';
COMMENT ON COLUMN eval_objects.split IS 'train, val or test';
COMMENT ON COLUMN eval_objects.variant IS 'plain, or shifted: the same scans laid into a larger picture';
COMMENT ON COLUMN eval_objects.sample_id IS 'the sample';
COMMENT ON COLUMN eval_objects.label IS 'class name';
COMMENT ON COLUMN eval_objects.score IS 'confidence of its match; null where it was missed';
COMMENT ON COLUMN eval_objects.left_error_px IS 'found minus true left side, pixels; the image''s width where it was missed';
COMMENT ON COLUMN eval_objects.top_error_px IS 'found minus true upper side, pixels';
COMMENT ON COLUMN eval_objects.right_error_px IS 'found minus true right side, pixels';
COMMENT ON COLUMN eval_objects.bottom_error_px IS 'found minus true lower side, pixels';
COMMENT ON COLUMN eval_objects.side_error_px IS 'mean size of the four errors, pixels';
COMMENT ON COLUMN eval_objects.side_error_mm IS 'mean size of the four errors, millimetres; null where the scale is not known';
COMMENT ON COLUMN eval_objects.mm_per_px IS 'scale, millimetres a pixel';
COMMENT ON COLUMN eval_objects.missed IS 'whether no other kind of error accounts for it being missed';
COMMENT ON COLUMN eval_objects.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE tracked_experiments (
  experiment_id VARCHAR,
  logged TIMESTAMP,
  git_commit VARCHAR,
  config JSON,
  results JSON,
  model_checkpoints JSON,
  source VARCHAR
);
COMMENT ON TABLE tracked_experiments IS 'Trials recorded by ExperimentTracker.track_experiment. View experiments shows them beside the runs.';
COMMENT ON COLUMN tracked_experiments.experiment_id IS 'the experiment';
COMMENT ON COLUMN tracked_experiments.logged IS 'when it was recorded, UTC';
COMMENT ON COLUMN tracked_experiments.git_commit IS 'commit of the code';
COMMENT ON COLUMN tracked_experiments.config IS 'configuration that was recorded';
COMMENT ON COLUMN tracked_experiments.results IS 'results that were recorded';
COMMENT ON COLUMN tracked_experiments.model_checkpoints IS 'checkpoints with their digests';
COMMENT ON COLUMN tracked_experiments.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE findings (
  dataset VARCHAR,
  subject VARCHAR,
  task VARCHAR,
  check_name VARCHAR,
  code VARCHAR,
  severity VARCHAR,
  samples BIGINT,
  sample_ids JSON,
  why VARCHAR,
  action VARCHAR,
  logged TIMESTAMP,
  source VARCHAR
);
COMMENT ON TABLE findings IS 'What the last check of each dataset and version found. What people let stand since: trugrade data check NAME.';
COMMENT ON COLUMN findings.dataset IS 'name of the dataset';
COMMENT ON COLUMN findings.subject IS 'what was checked: NAME as it was then, or NAME@V';
COMMENT ON COLUMN findings.task IS 'what it was held against; null where nobody has said';
COMMENT ON COLUMN findings.check_name IS 'label_consistency, class_balance, image_quality, annotation_coverage or format_validation';
COMMENT ON COLUMN findings.code IS 'kind of finding';
COMMENT ON COLUMN findings.severity IS 'info, warning or error';
COMMENT ON COLUMN findings.samples IS 'samples concerned';
COMMENT ON COLUMN findings.sample_ids IS 'their ids';
COMMENT ON COLUMN findings.why IS 'what was found';
COMMENT ON COLUMN findings.action IS 'what to do';
COMMENT ON COLUMN findings.logged IS 'when it was checked, UTC';
COMMENT ON COLUMN findings.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE label_studio_work (
  dataset VARCHAR,
  sample_id VARCHAR,
  task_id BIGINT,
  who VARCHAR,
  submitted TIMESTAMP,
  minutes DOUBLE,
  source VARCHAR
);
COMMENT ON TABLE label_studio_work IS 'Annotations that were pulled from Label Studio: by whom, when and in how long. What they say is in annotation_log.';
COMMENT ON COLUMN label_studio_work.dataset IS 'name of the dataset';
COMMENT ON COLUMN label_studio_work.sample_id IS 'sample that was annotated';
COMMENT ON COLUMN label_studio_work.task_id IS 'Label Studio''s task';
COMMENT ON COLUMN label_studio_work.who IS 'the person, by the lab''s name';
COMMENT ON COLUMN label_studio_work.submitted IS 'when it was last submitted there, UTC';
COMMENT ON COLUMN label_studio_work.minutes IS 'how long it was open there, as Label Studio counts it';
COMMENT ON COLUMN label_studio_work.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE tasks (
  task VARCHAR,
  category VARCHAR,
  kind VARCHAR,
  title VARCHAR,
  main_metric VARCHAR,
  higher_is_better BOOLEAN
);
COMMENT ON TABLE tasks IS 'What this lab can learn, with the metric that decides.';
COMMENT ON COLUMN tasks.task IS 'id of the task';
COMMENT ON COLUMN tasks.category IS 'first part of the id';
COMMENT ON COLUMN tasks.kind IS 'how it is learned';
COMMENT ON COLUMN tasks.title IS 'plain words';
COMMENT ON COLUMN tasks.main_metric IS 'metric that decides which run is best';
COMMENT ON COLUMN tasks.higher_is_better IS 'its direction';
CREATE TABLE problems (
  what VARCHAR,
  seen TIMESTAMP,
  source VARCHAR
);
COMMENT ON TABLE problems IS 'Files that could not be read and are missing from the other tables.';
COMMENT ON COLUMN problems.what IS 'what is wrong';
COMMENT ON COLUMN problems.seen IS 'when it was found, UTC';
COMMENT ON COLUMN problems.source IS 'file in the workspace that the row was read from, relative to its folder';
CREATE TABLE catalog_info (
  schema_version VARCHAR,
  published TIMESTAMP
);
COMMENT ON TABLE catalog_info IS 'One row: what this file is.';
COMMENT ON COLUMN catalog_info.schema_version IS 'version of these tables and of what is put into them';
COMMENT ON COLUMN catalog_info.published IS 'when this file was published, UTC';
CREATE TABLE catalog_journals (
  path VARCHAR,
  folded_bytes BIGINT,
  tail_sha256 VARCHAR
);
COMMENT ON TABLE catalog_journals IS 'How much of each journal is in here; for the program that publishes this file.';
COMMENT ON COLUMN catalog_journals.path IS 'journal in the workspace';
COMMENT ON COLUMN catalog_journals.folded_bytes IS 'bytes that have been read';
COMMENT ON COLUMN catalog_journals.tail_sha256 IS 'digest of the last of them: another journal of this name has another';
CREATE TABLE catalog_sources (
  path VARCHAR,
  fingerprint VARCHAR
);
COMMENT ON TABLE catalog_sources IS 'Which state of each file is in here; for the program that publishes this file.';
COMMENT ON COLUMN catalog_sources.path IS 'file in the workspace';
COMMENT ON COLUMN catalog_sources.fingerprint IS 'size and time of it and the files that belong to it';
CREATE VIEW metrics AS WITH later AS ( SELECT run_id, step, name, max(attempt) AS attempt FROM metrics_all WHERE attempt > 1 GROUP BY run_id, step, name ) SELECT m.run_id, m.step, m.epoch, m.batch, m.name, m.value, m.logged, m.attempt FROM metrics_all AS m LEFT JOIN later AS l ON l.run_id = m.run_id AND l.step = m.step AND l.name = m.name WHERE l.attempt IS NULL OR l.attempt = m.attempt;
COMMENT ON VIEW metrics IS 'Numbers that runs reported: of each run, step and name the highest attempt.';
COMMENT ON COLUMN metrics.run_id IS 'the run';
COMMENT ON COLUMN metrics.step IS 'optimizer steps done';
COMMENT ON COLUMN metrics.epoch IS 'epoch';
COMMENT ON COLUMN metrics.batch IS 'batch within the epoch; null for validations';
COMMENT ON COLUMN metrics.name IS 'train/loss, train/<component>, val/loss, val/<metric>, lr, time/step_s, time/wait_share, time/images_per_s';
COMMENT ON COLUMN metrics.value IS 'the number; unit as the name says (mm for side errors, s for times, 1/s for rates)';
COMMENT ON COLUMN metrics.logged IS 'when it was reported, UTC';
COMMENT ON COLUMN metrics.attempt IS 'attempt that reported it, from 1';
CREATE VIEW annotations AS WITH heads AS ( SELECT * FROM annotation_log AS a WHERE op = 'put' AND NOT EXISTS ( SELECT 1 FROM annotation_log AS b WHERE b.dataset = a.dataset AND b.annotation_id = a.annotation_id AND b.replaces = a.entry) ) SELECT dataset, sample_id, annotation_id, layer, label, type, value, attributes, who, logged, tool, suggested_by FROM heads WHERE coalesce(type, '') <> 'status' QUALIFY row_number() OVER (PARTITION BY dataset, annotation_id, layer ORDER BY position DESC) = 1;
COMMENT ON VIEW annotations IS 'Labels as they hold now, one row each; of a label in conflict the newest put.';
COMMENT ON COLUMN annotations.dataset IS 'name of the dataset';
COMMENT ON COLUMN annotations.sample_id IS 'the sample';
COMMENT ON COLUMN annotations.annotation_id IS 'the annotation';
COMMENT ON COLUMN annotations.layer IS 'main, or a grader''s name for blind votes';
COMMENT ON COLUMN annotations.label IS 'class name; null for scores and tag sets';
COMMENT ON COLUMN annotations.type IS 'box, polygon, mask, tags or score';
COMMENT ON COLUMN annotations.value IS 'the shape, pixels of the image after EXIF rotation, pixel centres at integers';
COMMENT ON COLUMN annotations.attributes IS 'free attributes';
COMMENT ON COLUMN annotations.who IS 'who said so last';
COMMENT ON COLUMN annotations.logged IS 'when, UTC';
COMMENT ON COLUMN annotations.tool IS 'with what: importer, canvas, Label Studio';
COMMENT ON COLUMN annotations.suggested_by IS 'model that suggested it';
CREATE VIEW annotation_activity AS SELECT dataset, who, tool, CAST(logged AS DATE) AS day, count(*) AS changes, count(DISTINCT sample_id) AS samples, sum(CASE WHEN gap BETWEEN 0 AND 5 THEN gap ELSE 0 END) AS minutes FROM ( SELECT dataset, who, tool, logged, sample_id, date_diff('millisecond', lag(logged) OVER (PARTITION BY who ORDER BY logged, position), logged) / 60000.0 AS gap FROM annotation_log WHERE tool IN ('annotator', 'canvas', 'explorer', 'consensus', 'cli') ) AS steps GROUP BY dataset, who, tool, CAST(logged AS DATE) UNION ALL SELECT dataset, who, 'label_studio', CAST(submitted AS DATE), count(*), count(DISTINCT sample_id), sum(minutes) FROM label_studio_work GROUP BY dataset, who, CAST(submitted AS DATE);
COMMENT ON VIEW annotation_activity IS 'What each person did by hand, a row a dataset, tool and day; of Label Studio what was pulled, on the day of its work.';
COMMENT ON COLUMN annotation_activity.dataset IS 'name of the dataset';
COMMENT ON COLUMN annotation_activity.who IS 'the person';
COMMENT ON COLUMN annotation_activity.tool IS 'annotator, canvas, label_studio, explorer, consensus or cli';
COMMENT ON COLUMN annotation_activity.day IS 'the day, UTC';
COMMENT ON COLUMN annotation_activity.changes IS 'entries in the log; of Label Studio annotations submitted';
COMMENT ON COLUMN annotation_activity.samples IS 'different samples';
COMMENT ON COLUMN annotation_activity.minutes IS 'time from each change to the next, in minutes, pauses over five left out; of Label Studio as it counts';
CREATE VIEW agreement AS WITH scores AS ( SELECT dataset, sample_id, layer AS grader, TRY_CAST(value ->> '$.score' AS DOUBLE) AS score FROM annotations WHERE layer <> 'main' AND type = 'score' ) SELECT a.dataset, a.grader, b.grader AS other, count(*) AS samples, avg(a.score - b.score) AS difference, avg(abs(a.score - b.score)) AS mean_absolute, avg(CASE WHEN abs(a.score - b.score) <= 0.5 THEN 1.0 ELSE 0.0 END) AS within_half, 1 - avg((a.score - b.score) ** 2) / nullif(var_pop(a.score) + var_pop(b.score) + (avg(a.score) - avg(b.score)) ** 2, 0) AS quadratic_kappa FROM scores AS a JOIN scores AS b ON a.dataset = b.dataset AND a.sample_id = b.sample_id AND a.grader < b.grader GROUP BY a.dataset, a.grader, b.grader;
COMMENT ON VIEW agreement IS 'How alike graders score who saw the same samples, a row a pair. Intervals and alpha: trugrade data agreement.';
COMMENT ON COLUMN agreement.dataset IS 'name of the dataset';
COMMENT ON COLUMN agreement.grader IS 'the one';
COMMENT ON COLUMN agreement.other IS 'the other';
COMMENT ON COLUMN agreement.samples IS 'samples that both scored';
COMMENT ON COLUMN agreement.difference IS 'mean of the one''s score less the other''s, in grades';
COMMENT ON COLUMN agreement.mean_absolute IS 'mean distance of the scores, in grades';
COMMENT ON COLUMN agreement.within_half IS 'share of samples on which they are half a grade apart or less';
COMMENT ON COLUMN agreement.quadratic_kappa IS 'Cohen''s kappa with quadratic weights; null where neither varies';
CREATE VIEW datasets AS SELECT d.dataset, d.created, coalesce(s.samples, 0) AS samples, coalesce(s.cards, 0) AS cards, coalesce(s.done, 0) AS samples_done, coalesce(s.synthetic, 0) AS samples_synthetic, coalesce(a.annotations, 0) AS annotations, coalesce(v.versions, 0) AS versions, v.newest AS newest_version, d.classes FROM dataset_files AS d LEFT JOIN ( SELECT dataset, count(*) AS samples, count(DISTINCT card) AS cards, count(*) FILTER (status = 'done') AS done, count(*) FILTER (origin = 'synthetic') AS synthetic FROM samples GROUP BY dataset ) AS s ON s.dataset = d.dataset LEFT JOIN ( SELECT dataset, count(*) AS annotations FROM annotations WHERE layer = 'main' GROUP BY dataset ) AS a ON a.dataset = d.dataset LEFT JOIN ( SELECT dataset, count(*) AS versions, arg_max(dataset_version, CAST(substr(version, 2) AS BIGINT)) AS newest FROM dataset_versions GROUP BY dataset ) AS v ON v.dataset = d.dataset;
COMMENT ON VIEW datasets IS 'Datasets as they are now.';
COMMENT ON COLUMN datasets.dataset IS 'name of the dataset';
COMMENT ON COLUMN datasets.created IS 'when it was made, UTC';
COMMENT ON COLUMN datasets.samples IS 'number of samples';
COMMENT ON COLUMN datasets.cards IS 'number of physical cards';
COMMENT ON COLUMN datasets.samples_done IS 'samples that are labelled';
COMMENT ON COLUMN datasets.samples_synthetic IS 'samples that were made, not scanned';
COMMENT ON COLUMN datasets.annotations IS 'labels in layer main';
COMMENT ON COLUMN datasets.versions IS 'number of versions';
COMMENT ON COLUMN datasets.newest_version IS 'newest version as NAME@V';
COMMENT ON COLUMN datasets.classes IS 'ordered classes, id 1 first, each with its shape';
CREATE VIEW experiments AS SELECT r.experiment_id, 'run' AS kind, r.run_id, r.created AS logged, r.git_commit, r.config, r.result AS results, c.model_checkpoints FROM runs AS r LEFT JOIN ( SELECT run_id, to_json(list({'run': run_id, 'name': name, 'digest': digest, 'step': step, 'epoch': epoch} ORDER BY name)) AS model_checkpoints FROM checkpoints GROUP BY run_id ) AS c ON c.run_id = r.run_id UNION ALL SELECT experiment_id, 'tracked', NULL, logged, git_commit, config, results, model_checkpoints FROM tracked_experiments;
COMMENT ON VIEW experiments IS 'Trials of each experiment: runs, and what was recorded by hand.';
COMMENT ON COLUMN experiments.experiment_id IS 'the experiment';
COMMENT ON COLUMN experiments.kind IS 'run or tracked';
COMMENT ON COLUMN experiments.run_id IS 'the run; null for a recorded trial';
COMMENT ON COLUMN experiments.logged IS 'when it was launched or recorded, UTC';
COMMENT ON COLUMN experiments.git_commit IS 'commit of the code';
COMMENT ON COLUMN experiments.config IS 'configuration';
COMMENT ON COLUMN experiments.results IS 'results';
COMMENT ON COLUMN experiments.model_checkpoints IS 'checkpoints with their digests';
CREATE VIEW best_runs AS SELECT r.task, r.dataset_version, r.run_id, r.architecture, r.main_metric, CASE WHEN r.higher_is_better THEN 'higher is better' ELSE 'lower is better' END AS direction, r.best_value, r.best_step, e.value AS test_value, e.low AS test_low, e.high AS test_high, count(*) OVER (PARTITION BY r.task, r.dataset_version) AS runs FROM runs AS r LEFT JOIN eval_metrics AS e ON e.run_id = r.run_id AND e.split = 'test' AND e.predictor = 'model' AND 'val/' || e.name = r.main_metric WHERE r.best_value IS NOT NULL AND r.state <> 'discarded' QUALIFY row_number() OVER ( PARTITION BY r.task, r.dataset_version ORDER BY CASE WHEN r.higher_is_better THEN -r.best_value ELSE r.best_value END, r.run_id) = 1;
COMMENT ON VIEW best_runs IS 'The best run of each task on each dataset version, by the task''s main metric on validation.';
COMMENT ON COLUMN best_runs.task IS 'what was learned';
COMMENT ON COLUMN best_runs.dataset_version IS 'dataset and version as NAME@V';
COMMENT ON COLUMN best_runs.run_id IS 'the best run';
COMMENT ON COLUMN best_runs.architecture IS 'its architecture and variant';
COMMENT ON COLUMN best_runs.main_metric IS 'metric that decides, in table metrics';
COMMENT ON COLUMN best_runs.direction IS 'higher is better, or lower is better';
COMMENT ON COLUMN best_runs.best_value IS 'its best validation value; unit as the name says';
COMMENT ON COLUMN best_runs.best_step IS 'step of that value';
COMMENT ON COLUMN best_runs.test_value IS 'the same metric on split test, where it was evaluated';
COMMENT ON COLUMN best_runs.test_low IS 'lower end of its 95 % interval';
COMMENT ON COLUMN best_runs.test_high IS 'upper end of its 95 % interval';
COMMENT ON COLUMN best_runs.runs IS 'runs that were compared';
CREATE VIEW lineage AS SELECT 'image' AS from_kind, image_sha256 AS from_id, 'is the main image of' AS relation, 'sample' AS to_kind, sample_id AS to_id FROM samples GROUP BY image_sha256, sample_id UNION ALL SELECT 'sample', sample_id, 'is in split ' || split || ' of', 'dataset_version', dataset_version FROM version_samples UNION ALL SELECT 'dataset_version', dataset_version, 'trained', 'run', run_id FROM runs WHERE dataset_version IS NOT NULL UNION ALL SELECT 'run', run_id, 'wrote ' || name, 'checkpoint', digest FROM checkpoints UNION ALL SELECT 'checkpoint', checkpoint_digest, 'was judged in', 'evaluation', run_id || '/' || split FROM eval_metrics WHERE checkpoint_digest IS NOT NULL GROUP BY checkpoint_digest, run_id, split UNION ALL SELECT 'dataset_version', dataset_version, 'was the ground of', 'evaluation', run_id || '/' || split FROM eval_metrics WHERE dataset_version IS NOT NULL GROUP BY dataset_version, run_id, split UNION ALL SELECT 'checkpoint', checkpoint_digest, 'was exported as', 'export', export_name FROM exports WHERE checkpoint_digest IS NOT NULL;
COMMENT ON VIEW lineage IS 'Where everything comes from, one row a step: image, sample, dataset version, run, checkpoint, artifact, evaluation.';
COMMENT ON COLUMN lineage.from_kind IS 'image, sample, dataset_version, run or checkpoint';
COMMENT ON COLUMN lineage.from_id IS 'sha256 of an image or checkpoint, id of a sample or run, NAME@V of a version';
COMMENT ON COLUMN lineage.relation IS 'how the second came from the first';
COMMENT ON COLUMN lineage.to_kind IS 'sample, dataset_version, run, checkpoint, evaluation or export';
COMMENT ON COLUMN lineage.to_id IS 'id of the second; RUN/SPLIT for an evaluation';
