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
  };

  export = {
    onnx_imgsz =
      key positive 1280
        "Side of the exported model's square input in pixels; a multiple of 32.";
  };
}
