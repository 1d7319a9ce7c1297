"""Where files are kept: one port, and one file for each kind of place (SFTP, FTP, S3, WebDAV, SMB, HTTP)."""
