# The keys of config.yaml as options: names, types and defaults are those of the programs (src/service/src/config), and a test
# compares the two. What a type cannot say, `azaion config check` says when the system is built.
{ lib }:
let
  inherit (lib) types;
  key =
    type: default: description:
    lib.mkOption { inherit type default description; };
  text = types.nonEmptyStr;
  orNone = type: types.nullOr type;
  # Not types.path: a path written in Nix would be copied into the store.
  file = orNone (types.strMatching "/.+");
  folder = types.strMatching "[^/].*";
  positive = types.ints.positive;
  # Its range is known to the programs.
  number = types.anything;
in
{
  root_dir =
    key (types.strMatching "/[A-Za-z0-9._/-]+") "/azaion"
      "The tree: everything the suite keeps lies under it. The units may write nowhere else.";
  data_dir = key folder "data" "Validated annotations, relative to `root_dir`.";
  data_seed_dir = key folder "data-seed" "Annotations not yet validated, relative to `root_dir`.";
  data_deleted_dir = key folder "data_deleted" "Soft-deleted annotations, relative to `root_dir`.";

  api = {
    url =
      key (types.strMatching "https?://.+") "https://api.azaion.com"
        "The REST API that models are published to; plain HTTP only towards this machine.";
    email = key (orNone text) null "The account that logs in there.";
    password_file = key file null "A file outside the store that holds its password.";
  };

  rabbitmq = {
    host = key text "127.0.0.1" "Host name or address of the broker.";
    port = key types.port 5552 "Port of the stream protocol; with TLS usually 5551.";
    user = key text "azaion_receiver" "The account that reads the stream.";
    password_file =
      key file null
        "A file outside the store that holds its password and that the suite's user may read. Prefer `services.azaion.secrets.rabbitmqPassword`, which needs no such right.";
    queue_name = key text "azaion-annotations" "Name of the stream.";
    virtual_host = key text "/" "The broker's virtual host.";
    tls =
      key types.bool false
        "Whether the connection is encrypted and the broker's certificate verified.";
    tls_ca_file =
      key file null
        "Certificates (PEM) that vouch for the broker, instead of the system's.";
    heartbeat_s =
      key (types.ints.between 1 300) 10
        "Seconds between two signs of life; a broker that is silent for twice as long is lost.";
    buffer_mb =
      key (types.ints.between 8 65536) 48
        "Megabytes of messages that may be in memory at once. Raise `queue.memoryMax` with it.";
    accept_loss_before =
      key types.ints.unsigned 0
        "Go on though retention has removed messages before this offset; the error names the number.";
  };

  training = {
    model =
      key text "yolo26m.pt"
        "Base weights: a `.pt` or `.safetensors` file, or the name of a known model.";
    epochs = key positive 120 "Epochs of a whole run.";
    batch_size = key positive 11 "Images a step.";
    imgsz = key positive 1280 "Side of the network's square input in pixels; a multiple of 32.";
    save_period = key positive 1 "A checkpoint every so many epochs.";
    workers = key types.ints.unsigned 24 "Threads that load images; 0 loads in the training thread.";
    device = key (types.strMatching "auto|cpu|cuda(:[0-9]+)?") "auto" "Where the network is trained.";
    threads = key types.ints.unsigned 0 "Processor threads for the network; 0: all cores.";
    keep_checkpoints =
      key positive 2
        "How many checkpoints of epochs' ends are kept beside the latest one.";
    save_minutes = key positive 5 "The run is saved within an epoch too, after so many minutes.";
    step_limit_s =
      key positive 900
        "Seconds that a training step may take; a run that is silent for longer hangs, and systemd starts it again.";
    validation_limit_s = key positive 600 "Seconds that validating two batches of images may take.";
    export_limit_s =
      key positive 600
        "Seconds that an epoch's end may take: its model, table and page, and the disk.";
    new_annotations =
      key types.ints.unsigned 0
        "A fine-tuning run from the model in service begins when so many validated annotations are new or labelled anew since the last run's dataset, where `train.new.enable` is set; 0: never.";
    hours =
      key (types.strMatching "([0-9]{1,2}:[0-9]{2} *- *[0-9]{1,2}:[0-9]{2})?") ""
        "When such a run may begin, local time, as `22:00-06:00`; empty: at any time.";
    precision =
      key (types.strMatching "auto|fp32|bf16|fp16") "auto"
        "Number format of forward and backward pass: `auto` (GPU: fp16; CPU: bf16 where it is fast), `fp32`, `bf16` or `fp16`.";
    optimizer =
      key (types.strMatching "auto|MuSGD|AdamW|SGD") "auto"
        "`auto` (AdamW for short runs, MuSGD for long ones; it sets `lr0` and `momentum` too), `MuSGD`, `AdamW` or `SGD`.";
    lr0 = key number 0.01 "Learning rate at the start.";
    lrf = key number 0.01 "Learning rate at the end, as a share of `lr0`.";
    momentum = key number 0.937 "SGD's momentum, or Adam's first beta.";
    weight_decay = key number 0.0005 "Weight decay at the nominal batch size.";
    nbs =
      key positive 64
        "Nominal batch size: gradients are accumulated over `nbs / batch_size` batches.";
    warmup_epochs = key number 3.0 "Epochs of warm-up.";
    warmup_momentum = key number 0.8 "Momentum at the start of the warm-up.";
    warmup_bias_lr =
      key number 0.1
        "Learning rate of biases at the start of the warm-up; not with `auto`.";
    cos_lr = key types.bool false "Cosine instead of linear decay of the learning rate.";
    close_mosaic = key types.ints.unsigned 10 "Mosaic and mixup are off in so many last epochs.";
    patience =
      key types.ints.unsigned 100
        "Epochs without a better model after which the run ends; 0: never.";
    seed = key types.ints.unsigned 0 "Every random choice of a run is a function of this number.";
    box = key number 7.5 "Weight of the box loss.";
    cls = key number 0.5 "Weight of the class loss.";
    dfl = key number 1.5 "Weight of the distance loss.";
    hsv_h = key number 0.015 "Hue is shifted by up to this share of the circle.";
    hsv_s = key number 0.7 "Saturation is multiplied by up to `1 - hsv_s` to `1 + hsv_s`.";
    hsv_v = key number 0.4 "Brightness is multiplied by up to `1 - hsv_v` to `1 + hsv_v`.";
    degrees = key number 0.0 "Rotation by up to so many degrees, either way.";
    translate = key number 0.1 "Translation by up to this share of the side, either way.";
    scale = key number 0.5 "Zoom by `1 - scale` to `1 + scale`.";
    shear = key number 0.0 "Shear by up to so many degrees, either way.";
    perspective = key number 0.0 "Perspective terms of up to this size; useful ones are below 0.001.";
    flipud = key number 0.0 "Probability of turning an image upside down.";
    fliplr = key number 0.5 "Probability of mirroring an image.";
    mosaic = key number 1.0 "Probability of putting four images together.";
    mixup = key number 0.0 "Probability of blending with a second sample.";
  };

  export = {
    onnx_imgsz =
      key positive 1280
        "Side of the exported model's square input in pixels; a multiple of 32.";
  };

  alerts = {
    maintenance =
      key (orNone text) null
        "When nothing is told: `Sun 02:00-04:00, daily 23:30-00:30`, in this machine's time.";
    smtp_host = key (orNone text) null "The mail server. Without it no mail is sent.";
    smtp_port = key types.port 587 "Its port.";
    smtp_security =
      key text "starttls"
        "`starttls` (needed), `tls` (from the first byte) or `none` (only for a server on this machine).";
    smtp_ca_file =
      key file null
        "Certificates (PEM) that vouch for the mail server, instead of the system's.";
    smtp_user = key (orNone text) null "The account that sends; without it nobody logs in.";
    smtp_password_file =
      key file null
        "A file outside the store that holds its password and that the suite's user may read. Prefer `services.azaion.secrets.smtpPassword`.";
    mail_from = key (orNone text) null "The sender's address.";
    mail_to = key (orNone text) null "Who is told: addresses, with commas between them.";
    webhook_file =
      key file null
        "A file outside the store that holds the webhook's address. Prefer `services.azaion.secrets.webhookUrl`.";
    webhook_format =
      key text "json"
        "What is posted there: `json` (all there is to tell), `slack` or `ntfy`.";
    ping_file =
      key file null
        "A file outside the store that holds an address that is called after each check. Prefer `services.azaion.secrets.pingUrl`.";
    runbook = key text "docs/RUNBOOK.md" "Where the runbook is; alerts name their entry in it.";
  };

  backup = {
    repository = key (orNone (
      types.strMatching "/.+|s3:https?://.+/.+|rclone:.+:.*"
    )) null "Where backups go: a folder, `s3:https://HOST/BUCKET/PREFIX` or `rclone:REMOTE:PATH`.";
    password_file =
      key file null
        "A file outside the store that holds the password that encrypts them and that the suite's user may read. Prefer `services.azaion.secrets.backupPassword`.";
    s3_region = key text "us-east-1" "S3: the region, where the server asks for one.";
    s3_access_key_file =
      key file null
        "S3: a file that holds the access key. Prefer `services.azaion.secrets.backupS3AccessKey`.";
    s3_secret_key_file =
      key file null
        "S3: a file that holds the secret key. Prefer `services.azaion.secrets.backupS3SecretKey`.";
    rclone_config_file =
      key file null
        "rclone: its configuration, which holds the remote. Prefer `services.azaion.secrets.backupRcloneConfig`.";
    keep_daily = key types.ints.unsigned 7 "The last backup of so many days is kept.";
    keep_weekly = key types.ints.unsigned 5 "The last backup of so many weeks is kept.";
    keep_monthly = key types.ints.unsigned 12 "The last backup of so many months is kept.";
    check_parts =
      key types.ints.unsigned 30
        "Each backup is followed by a check that reads one of so many parts of the data back, in turn; 0 reads none.";
    drill_files =
      key types.ints.unsigned 50
        "Files that a drill restores, drawn anew each time, beside the model and the last checkpoint.";
    datasets =
      key types.bool false
        "Whether datasets are backed up whole. Without it their manifests are, of which they can be formed again.";
  };
}
