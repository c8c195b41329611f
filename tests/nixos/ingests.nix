# What is published to a real broker ends in the tree; a broken configuration blocks the start and says so.
{ module }:
{
  name = "azaion-ingests";
  nodes.machine = import ./machine.nix { inherit module; };
  testScript = ''
    machine.wait_for_unit("rabbitmq.service")
    machine.succeed("prepare-broker")
    for name in ["apple", "pear", "plum"]:
        machine.succeed(f"publish {name}")
    machine.wait_for_unit("azaion-queue.service")

    with subtest("three annotations, image and label"):
        for name in ["apple", "pear", "plum"]:
            machine.wait_until_succeeds(f"ls /azaion/data*/images/{name}.jpg && ls /azaion/data*/labels/{name}.txt")
        machine.succeed("azaion queue verify")

    with subtest("a broker that comes back is found again"):
        machine.succeed("systemctl restart rabbitmq.service")
        machine.succeed("publish cherry")
        machine.wait_until_succeeds("ls /azaion/data*/images/cherry.jpg")
        assert machine.succeed("systemctl show -P NRestarts azaion-queue").strip() == "0"

    with subtest("a crash is told of and mended"):
        machine.succeed("systemctl kill --signal=SEGV azaion-queue")
        machine.wait_until_succeeds("ls /azaion/status/alerts/* | grep azaion-queue")
        machine.wait_until_succeeds("systemctl is-active azaion-queue")
  '';
}
