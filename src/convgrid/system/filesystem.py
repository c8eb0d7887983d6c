"""Which kind of file system a file lies on."""

from pathlib import Path

# Of several machines, and with locks that they may not share: those of NFS and Lustre count on one machine, as they are
# mounted often. Ceph and GPFS keep theirs.
NETWORK = {"afpfs", "afs", "beegfs", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4"}
NETWORK |= {"smb2", "smb3", "smbfs", "webdav"}


def network_filesystem(path: Path) -> str | None:
    """Find out whether a file lies on a network file system, where processes of several machines may spoil it.

    Args:
        path: A file, which need not exist yet.

    Returns:
        Its kind, such as "nfs4"; None on a disk of this machine, and where nobody can tell.

    Example:
        >>> network_filesystem(Path("/proc/self/mlflow.db"))
    """
    import psutil  # it is found on the way to a store only

    place = path.resolve()
    mounts = psutil.disk_partitions(all=True)
    above = [(len(mount.mountpoint), at) for at, mount in enumerate(mounts) if place.is_relative_to(mount.mountpoint)]
    kind = mounts[max(above)[1]].fstype if above else ""  # of those mounted over each other, the last one is seen
    return kind if kind in NETWORK else None
