# Three of these keep the cluster's consensus.
{
  services.pgha = {
    enable = true;
    role = "etcd";
  };
}
