# Messages wait in the broker while the machine is down, and the queue goes on where it was.
{ module }:
{
  name = "azaion-survives-reboot";
  nodes.machine = import ./machine.nix { inherit module; };
  testScript = ''
    machine.wait_for_unit("rabbitmq.service")
    machine.succeed("prepare-broker && publish before")
    machine.wait_until_succeeds("ls /azaion/data*/images/before.jpg")
    offset = machine.succeed("cat /azaion/offset.yaml")

    machine.succeed("systemctl stop azaion-queue.service && publish meanwhile")
    machine.shutdown()
    machine.start()

    machine.wait_for_unit("azaion-queue.service")
    machine.wait_until_succeeds("ls /azaion/data*/images/meanwhile.jpg")
    machine.succeed("ls /azaion/data*/images/before.jpg && azaion queue verify")
    assert machine.succeed("cat /azaion/offset.yaml") != offset
  '';
}
