# A machine that is no node: a client with psql, the cluster's CA and the application's password, or a stranger.
{
  address,
  archives,
  hosts,
}:
{ lib, pkgs, ... }:

{
  networking = {
    interfaces.eth1.ipv4.addresses = lib.mkForce [
      {
        inherit address;
        prefixLength = 24;
      }
    ];
    firewall.enable = false;
    extraHosts = lib.concatLines (lib.mapAttrsToList (name: host: "${host.address} ${name}") hosts);
  };

  environment = {
    etc."pgha-test".source = archives;
    systemPackages = [
      pkgs.curl
      pkgs.jq
      pkgs.netcat-openbsd
      pkgs.openssl
      pkgs.postgresql_17
    ];
  };
}
