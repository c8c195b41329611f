# A development machine (or a small site): broker, queue and training on the processor, all on one host. The broker's user is
# made once by hand, with the password that the file below holds:
#   su -s /bin/sh rabbitmq -c "rabbitmqctl add_user azaion_receiver"
#   su -s /bin/sh rabbitmq -c "rabbitmqctl set_permissions azaion_receiver '.*' '.*' '.*'"
{
  boot.loader.grub.device = "/dev/vda";
  fileSystems."/" = {
    device = "/dev/vda1";
    fsType = "ext4";
  };
  networking.hostName = "bench";
  system.stateVersion = "26.05";

  services.azaion = {
    enable = true;
    broker.enable = true;
    queue.enable = true;
    train.enable = true;
    secrets.rabbitmqPassword = "/etc/azaion/rabbitmq-password";
    settings.training = {
      model = "yolo26n.pt";
      epochs = 10;
      imgsz = 640;
      workers = 2;
    };
  };
}
