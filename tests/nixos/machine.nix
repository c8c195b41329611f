# What the machines of all tests share: a broker, the queue and its password, all on one host. `publish NAME` sends an
# annotated picture through the broker.
{ module }:
{ pkgs, ... }:
{
  imports = [ module ];
  virtualisation.memorySize = 3072;
  virtualisation.cores = 2;

  services.azaion = {
    enable = true;
    broker.enable = true;
    queue.enable = true;
    secrets.rabbitmqPassword = "/var/lib/secrets/rabbitmq-password";
    settings.rabbitmq.user = "tester";
  };

  # Stands for agenix or sops-nix: a file outside the store, before any service starts.
  systemd.tmpfiles.rules = [
    "d /var/lib/secrets 0700 root root -"
    "f /var/lib/secrets/rabbitmq-password 0400 root root - not-a-secret"
  ];

  environment.systemPackages = [
    pkgs.imagemagick
    (pkgs.writeShellApplication {
      name = "prepare-broker";
      text = ''
        # The broker's cookie is its own user's.
        ctl() { su -s /bin/sh rabbitmq -c "rabbitmqctl $*"; }
        ctl add_user tester not-a-secret
        ctl "set_permissions tester '.*' '.*' '.*'"
      '';
    })
    (pkgs.writeShellApplication {
      name = "publish";
      text = ''
        folder=$(mktemp -d)
        mkdir "$folder/images" "$folder/labels"
        magick -size 64x64 xc:red "$folder/images/$1.jpg"
        echo '0 0.5 0.5 0.25 0.25' > "$folder/labels/$1.txt"
        azaion import yolo "$folder" --create --password-file /var/lib/secrets/rabbitmq-password \
          --to rabbitmq-stream://tester@127.0.0.1/azaion-annotations
      '';
    })
  ];
}
