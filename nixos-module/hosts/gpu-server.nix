# A production server: a GPU, a broker elsewhere, a secret that agenix (or sops-nix) puts under /run at activation, and the
# tree on a disk of its own.
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
    # With agenix: config.age.secrets.rabbitmq-password.path
    secrets.rabbitmqPassword = "/run/agenix/rabbitmq-password";
    settings = {
      root_dir = "/srv/azaion";
      rabbitmq = {
        host = "broker.example";
        port = 5551;
        tls = true;
        tls_ca_file = "/etc/ssl/certs/ca-bundle.crt";
        buffer_mb = 256;
      };
      api.email = "trainer@${config.networking.hostName}.example";
    };
  };
}
