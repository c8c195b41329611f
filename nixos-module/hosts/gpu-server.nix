# A production server: a GPU, a broker elsewhere, backups on an S3 server, secrets that agenix (or sops-nix) puts under /run at
# activation, and the tree on a disk of its own.
{ config, ... }:
{
  boot.loader.systemd-boot.enable = true;
  fileSystems."/" = {
    device = "/dev/disk/by-label/root";
    fsType = "ext4";
  };
  fileSystems."/srv/azaion" = {
    device = "/dev/disk/by-label/azaion";
    fsType = "xfs";
  };
  networking.hostName = "trainer";
  system.stateVersion = "26.05";

  nixpkgs.config.allowUnfree = true;
  hardware.graphics.enable = true;
  hardware.nvidia.open = true;
  services.xserver.videoDrivers = [ "nvidia" ];

  services.azaion = {
    enable = true;
    queue = {
      enable = true;
      memoryMax = "2G";
    };
    train = {
      enable = true;
      gpu.enable = true;
      startAt = "Sun 02:00";
    };
    broker.addresses = [ "192.0.2.10" ];
    backup = {
      enable = true;
      addresses = [ "192.0.2.20" ];
    };
    # With agenix: config.age.secrets.rabbitmq-password.path
    secrets = {
      rabbitmqPassword = "/run/agenix/rabbitmq-password";
      backupPassword = "/run/agenix/backup-password";
      backupS3AccessKey = "/run/agenix/backup-s3-access-key";
      backupS3SecretKey = "/run/agenix/backup-s3-secret-key";
    };
    settings = {
      root_dir = "/srv/azaion";
      rabbitmq = {
        host = "broker.example";
        port = 5551;
        tls = true;
        tls_ca_file = "/etc/ssl/certs/ca-bundle.crt";
        buffer_mb = 256;
      };
      backup.repository = "s3:https://s3.example/backups/trainer";
      api.email = "trainer@${config.networking.hostName}.example";
    };
  };
}
