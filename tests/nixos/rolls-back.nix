# A switch restarts the queue and a rollback does so again, each within 30 seconds; a training run notices neither.
{ module }:
{
  name = "azaion-rolls-back";
  nodes.machine =
    { lib, pkgs, ... }:
    {
      imports = [ (import ./machine.nix { inherit module; }) ];
      services.azaion.train.enable = true;
      # Stands for a run of days.
      systemd.services.azaion-train.serviceConfig = {
        Type = "exec";
        WatchdogSec = "infinity";
        ExecStart = lib.mkForce [
          ""
          "${pkgs.coreutils}/bin/sleep infinity"
        ];
      };
      specialisation.next.configuration = {
        services.azaion.settings.rabbitmq.buffer_mb = 64;
        systemd.services.azaion-train.serviceConfig.Nice = 7;
      };
    };
  testScript = ''
    def pid(unit):
        return machine.succeed(f"systemctl show -P MainPID {unit}").strip()

    def switched(to):
        queue, train = pid("azaion-queue"), pid("azaion-train")
        machine.succeed(f"{to}/bin/switch-to-configuration test")
        machine.wait_until_succeeds("systemctl is-active azaion-queue", timeout=30)
        assert pid("azaion-queue") != queue, "the queue runs as it did before"
        assert pid("azaion-train") == train, "the training run was restarted"

    machine.wait_for_unit("rabbitmq.service")
    machine.succeed("prepare-broker && publish first")
    machine.wait_for_unit("azaion-queue.service")
    machine.succeed("systemctl start azaion-train")

    with subtest("a new generation"):
        switched("/run/booted-system/specialisation/next")
        machine.succeed("grep 'buffer_mb: 64' /etc/azaion/config.yaml")

    with subtest("and back"):
        switched("/run/booted-system")
        machine.fail("grep 'buffer_mb: 64' /etc/azaion/config.yaml")
        machine.succeed("publish second")
        machine.wait_until_succeeds("ls /azaion/data*/images/second.jpg")
  '';
}
