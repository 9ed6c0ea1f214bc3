# services.pgha: everything that makes a NixOS machine a node of a pgha cluster, one concern a file.
{
  imports = [
    ./backup.nix
    ./etcd.nix
    ./firewall.nix
    ./haproxy.nix
    ./identity.nix
    ./journal.nix
    ./network.nix
    ./node.nix
    ./postgresql.nix
    ./ssh.nix
    ./time.nix
    ./users.nix
    ./watchdog.nix
  ];
}
