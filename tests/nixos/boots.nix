# The suite comes up by itself, with its tree, under its own user, and without what it must not have.
{ module }:
{
  name = "azaion-boots";
  nodes.machine = import ./machine.nix { inherit module; };
  testScript = ''
    machine.wait_for_unit("rabbitmq.service")
    machine.succeed("prepare-broker && publish first")
    machine.wait_for_unit("azaion-queue.service")
    machine.succeed("systemctl is-active azaion.target")

    with subtest("the tree is there, and the suite's"):
        for folder in ["data/images", "data-seed/labels", "data_deleted", "datasets", "models", "status/alerts"]:
            assert machine.succeed(f"stat -c '%U %a' /azaion/{folder}").strip() == "azaion 750", folder

    with subtest("the password is the queue's alone"):
        machine.fail("su -s /bin/sh azaion -c 'cat /var/lib/secrets/rabbitmq-password'")
        machine.fail("grep -r not-a-secret /etc/azaion /azaion")

    with subtest("the queue's closure holds no libtorch"):
        program = machine.succeed("readlink -f /proc/$(systemctl show -P MainPID azaion-queue)/exe").strip()
        machine.fail(f"nix-store --query --requisites {program} | grep libtorch")

    with subtest("the journal is kept for thirty days"):
        machine.succeed("grep -r MaxRetentionSec=30day /etc/systemd/journald.conf*")
  '';
}
